"""Rented machines without a cloud: a stand-in for SkyPilot that runs the task's own script here, in a home of its own, with a fake runtime."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from fake_training import RECIPE

from launcher.backend.job import Job, settled
from launcher.backend.sky.cloud import Rented, Seen
from launcher.backend.sky.machine import SkyBackend
from launcher.plan.offer import Offer
from launcher.task.room import Room
from runtime.checkpoint.directory import DirectoryStore
from runtime.config.load import check_text

REPOSITORY = Path(__file__).resolve().parents[3]
FAKE_RUNTIME = REPOSITORY / "tests/integration/local_backend/fake_runtime.py"
STORAGE = "s3://bucket/prefix"
OFFER = Offer(
    cloud="aws",
    region="us-east-1",
    instance="x",
    gpus="8×A100",
    usd_per_h=10.0,
    spot=True,
    expected_usd=None,
    expected_h=None,
    verdict="ok",
)
LAUNCH = """\
launch:
  gpus: A100:8
  cloud: aws
  region: us-east-1
  spot: true
  storage: {storage}
  secrets: [CANARY_TOKEN]
  recovery:
    grace_s: 5
"""


@dataclass
class ScriptedCloud:
    """Runs the `run` script of a submitted task on this machine. `take_away` is a preemption, `recover` what SkyPilot does then."""

    folder: Path
    storage: Path
    lives: list[subprocess.Popen[bytes]] = field(default_factory=list)
    submitted: list[dict[str, Any]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    cancelled: bool = False

    def require(self) -> None:
        """It is always there."""

    def launch_job(
        self,
        task: str,
        *,
        name: str,
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
        hidden: Collection[str],
        report: Callable[[str], None],
    ) -> int:
        self.submitted.append(yaml.safe_load(task) | {"variables": dict(variables), "values": dict(secrets)})
        self.cancelled = False
        report("submitted")
        self.recover()
        return len(self.submitted)

    def launch_cluster(
        self,
        task: str,
        *,
        name: str,
        variables: Mapping[str, str],
        secrets: Mapping[str, str],
        hidden: Collection[str],
        report: Callable[[str], None],
    ) -> int:
        return self.launch_job(task, name=name, variables=variables, secrets=secrets, hidden=hidden, report=report)

    def recover(self) -> None:
        """A new machine with an empty home runs the task's script."""
        task = self.submitted[-1]
        home = self.folder / f"machine-{len(self.lives) + 1}"
        (home / ".launcher/venv/bin").mkdir(parents=True)
        python = home / ".launcher/venv/bin/python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        if (self.folder / "fake.json").exists():
            (home / ".launcher/fake.json").write_bytes((self.folder / "fake.json").read_bytes())
        for target, source in task["file_mounts"].items():
            mounted = home / target.removeprefix("~/")
            mounted.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, mounted)
        # The machine reaches the store under an address of its own.
        config = task["envs"]["LAUNCHER_CONFIG"].replace(STORAGE, f"file://{self.storage}")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PYTHONPATH": str(REPOSITORY),
            "SKYPILOT_CLUSTER_INFO": json.dumps({"cluster_name": "x", "cloud": "AWS", "region": "us-east-1", "zone": "us-east-1a"}),
            "LAUNCHER_RUNTIME_PYTHON": str(self.folder / "fake-python"),
            "LAUNCHER_REPORT_S": "0.2",
            **task["envs"],
            **task["variables"],
            **task["values"],
            "LAUNCHER_CONFIG": config,
        }
        with (self.folder / f"machine-{len(self.lives) + 1}.log").open("wb") as log:
            self.lives.append(
                subprocess.Popen(["bash", "-c", task["run"]], env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            )

    def take_away(self, number: int = signal.SIGKILL) -> None:
        """End the newest machine: all its processes at once, or with a signal to the first of them."""
        life = self.lives[-1]
        if number == signal.SIGKILL:
            home = str(self.folder / f"machine-{len(self.lives)}")
            for process in psutil.process_iter(["pid", "environ"]):
                if (process.info["environ"] or {}).get("HOME") == home:
                    process.kill()
        else:
            life.send_signal(number)
        life.wait(30)

    def job(self, number: int) -> Seen:
        if self.cancelled:
            return Seen(phase="cancelled")
        status = self.lives[-1].poll()
        if status is None:
            return Seen(phase="running")
        if status == 0:
            return Seen(phase="done")
        return Seen(phase="recovering") if status in (75, -9, 137) else Seen(phase="failed", detail=f"exit code {status}")

    def find_job(self, name: str) -> int | None:
        return len(self.submitted) or None

    def printed(self, name: str, number: int | None, *, managed: bool) -> str:
        return ""

    def cluster_job(self, name: str, number: int | None) -> Seen:
        return self.job(number or 0)

    def cancel_job(self, number: int) -> None:
        self.cancelled = True

    def end_cluster(self, name: str) -> None:
        self.cancelled = True
        self.ended.append(name)

    def delete_bucket(self, name: str) -> None:
        raise AssertionError(f"nobody made the bucket {name}")

    def delete_disk(self, name: str) -> None:
        raise AssertionError(f"nobody made the disk {name}")

    def rented(self) -> Sequence[Rented]:
        return []


@dataclass
class World:
    """A laptop's folder, its backend, the storage and the cloud."""

    folder: Path
    backend: SkyBackend
    cloud: ScriptedCloud
    storage: Path

    def job(self, run: str = "kind-otter-x7k", *, steps: int = 20, chaos: tuple[str, ...] = (), launch: str = "", **update: Any) -> Job:
        checked = check_text(RECIPE.format(steps=steps) + LAUNCH.format(storage=STORAGE) + launch, file=str(self.folder / "recipe.yml"))
        assert checked.config is not None, checked.errors
        config = settled(checked.config, run=run, cwd=self.folder).model_copy(update=update)
        return Job(run=run, recipe="recipe.yml", config=config, cwd=self.folder, chaos=chaos, offers=(OFFER,), room=Room(disk_gb=70))

    def another_laptop(self, folder: Path) -> SkyBackend:
        return SkyBackend(
            state_root=folder,
            environment={"CANARY_TOKEN": "hush"},
            report=lambda line: None,
            cloud=self.cloud,
            stores=lambda url: DirectoryStore(self.storage),
            look_s=0.1,
            ask_s=0.1,
        )

    def wrong(self, **behaviour: Any) -> None:
        (self.folder / "fake.json").write_text(json.dumps(behaviour))

    def wait(self, condition: Callable[[], Any], timeout: float = 40) -> Any:
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if found := condition():
                return found
            time.sleep(0.1)
        logs = "\n".join(log.read_text()[-3000:] for log in sorted(self.folder.glob("machine-*.log")))
        raise AssertionError(f"it did not happen in time\n{logs}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "work"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "rows.jsonl").write_text('{"instruction": "a", "input": "", "output": "b"}\n')
    interpreter = folder / "fake-python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE_RUNTIME} "$@"\n')
    interpreter.chmod(0o755)
    storage = tmp_path / "storage"
    cloud = ScriptedCloud(folder=folder, storage=storage)
    backend = SkyBackend(
        state_root=tmp_path / "state",
        environment={"CANARY_TOKEN": "hush"},
        report=lambda line: None,
        cloud=cloud,
        stores=lambda url: DirectoryStore(storage),
        look_s=0.1,
        ask_s=0.1,
    )
    yield World(folder=folder, backend=backend, cloud=cloud, storage=storage)
    for life in range(len(cloud.lives)):
        home = str(folder / f"machine-{life + 1}")
        for process in psutil.process_iter(["pid", "environ"]):
            if (process.info["environ"] or {}).get("HOME") == home:
                process.kill()
