"""A machine dies in the middle of a run and takes its disk along; what an S3 server holds brings the run back, to the same weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from object_servers import ObjectServer

from runtime.checkpoint.manifest import read_manifest, verify
from runtime.events import read_events

pytestmark = [pytest.mark.train, pytest.mark.slow]

DEADLINE_S = 600
SHORT: dict[str, Any] = {"max_steps": 90, "save_steps": 5, "val_set_size": 0, "eval_steps": None, "logging_steps": 5}


def launch(where: Path, server: ObjectServer, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        **server.variables,
        "LAUNCHER_STATE_DIR": str(where / "state"),
        "LAUNCHER_RUNTIME_PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "launcher", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, out + said
    data: dict[str, Any] = json.loads(out)["data"]
    return data


def kinds(output: Path) -> list[str]:
    return [event["kind"] for event in read_events(output / "events.jsonl")] if output.exists() else []


def die(record: Path, *others: subprocess.Popen[str]) -> None:
    """Every process of the run ends at once, as with the machine's power."""
    known = json.loads(record.read_text())
    doomed = [
        psutil.Process(known["supervisor_pid"]),
        psutil.Process(known["process_group"]),
        *(psutil.Process(other.pid) for other in others),
    ]
    doomed += [child for process in doomed for child in process.children(recursive=True)]
    for process in doomed:
        process.send_signal(signal.SIGSTOP)
    for process in doomed:
        process.kill()
    for other in others:
        other.communicate()
    psutil.wait_procs(doomed, timeout=30)


def test_a_lost_machine_costs_nothing(recipe: Callable[..., Path], tmp_path: Path, object_server: Callable[[str], ObjectServer]) -> None:
    from runtime.config.load import load_config
    from runtime.training.job import Surroundings
    from runtime.training.stop import StopRequest
    from runtime.training.train import train

    server = object_server("seaweedfs")
    output = tmp_path / "stormy"
    path = recipe("stormy", **SHORT, launch={"storage": f"{server.address}/runs", "name": "stormy"})
    run = launch(tmp_path, server, "up", str(path), "--cloud", "local", "-y", "--json")
    until = time.monotonic() + DEADLINE_S
    while "uploaded" not in kinds(output):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    die(tmp_path / "state" / "runs" / "stormy" / "run.json", run)
    assert "trained" not in kinds(output)
    shutil.rmtree(output)

    resumed = ended(launch(tmp_path, server, "resume", "stormy", "--json"))
    assert (resumed["state"], resumed["resumes"]) == ("done", 1)
    restored = next(event for event in read_events(output / "events.jsonl") if event["kind"] == "resumed")
    assert restored["step"] > 0

    calm = recipe("calm", **SHORT)
    train(load_config(calm).config, Surroundings(run="calm"), StopRequest())
    expected = {file.path: file.checksum for file in read_manifest(tmp_path / "calm" / "final").files if file.path.endswith(".safetensors")}
    assert expected

    shutil.rmtree(output)
    pulled = ended(launch(tmp_path, server, "pull", "stormy", "-o", str(tmp_path / "pulled"), "--json"))
    assert (pulled["verified"], pulled["from"]) == (True, f"{server.address}/runs/stormy/final")
    manifest = read_manifest(tmp_path / "pulled")
    assert verify(tmp_path / "pulled", manifest) == ()
    assert {file.path: file.checksum for file in manifest.files if file.path in expected} == expected

    ended(launch(tmp_path, server, "pull", "stormy", "--step", "90", "-o", str(tmp_path / "step"), "--json"))
    assert read_manifest(tmp_path / "step").step == 90
