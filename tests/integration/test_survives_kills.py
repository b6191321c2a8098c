"""The demo's training process is killed twenty times, some of them while it writes a checkpoint, and ends with the weights of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import xxhash

pytestmark = [pytest.mark.train, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
IN_WRITE = 6
DEADLINE_S = 900


def start(name: str, where: Path) -> tuple[subprocess.Popen[str], Path]:
    """The launcher process of one demo run, and the run's output folder."""
    output = where / name
    command = [sys.executable, "-m", "launcher", "up", "examples/quickstart.yml", "--cloud", "local", "-y", "--json", "--name", name]
    command += ["--set", f"output_dir={output}", "--set", "launch.recovery.max_restarts_without_progress=40"]
    environment = {
        **os.environ,
        "LAUNCHER_STATE_DIR": str(where / "state"),
        "LAUNCHER_RUNTIME_PYTHON": sys.executable,
        "OMP_NUM_THREADS": "2",
    }
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True), output


def trainer(record: Path) -> psutil.Process | None:
    """The training process that the run record names, while it lives and trains."""
    try:
        process = psutil.Process(json.loads(record.read_text())["process_group"])
        return process if "train" in process.cmdline() else None
    except (FileNotFoundError, ValueError, TypeError, KeyError, psutil.Error):
        return None


def newest_step(events: Path) -> int:
    """The highest optimizer step in the event log, 0 before the first."""
    if not events.exists():
        return 0
    steps = [0]
    for line in events.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["kind"] == "loss":
            steps.append(event["step"])
    return max(steps)


def checksums(output: Path) -> dict[str, str]:
    """Checksum of every weight file of the finished run, by its path in `final`."""
    final = output / "final"
    return {str(file.relative_to(final)): xxhash.xxh3_128_hexdigest(file.read_bytes()) for file in sorted(final.rglob("*.safetensors"))}


def losses(output: Path) -> dict[int, float]:
    """The last loss of every step: repeated steps after a resume count once."""
    events = [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines() if line.endswith("}")]
    return {event["step"]: event["loss"] for event in events if event["kind"] == "loss"}


def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    calm, calm_output = start("calm", tmp_path)
    answer, _ = calm.communicate(timeout=DEADLINE_S)
    assert calm.returncode == 0, answer
    total = json.loads(answer)["data"]["steps"]

    dice = random.Random(20)
    stormy, output = start("stormy", tmp_path)
    record = tmp_path / "state" / "runs" / "stormy" / "run.json"
    killed, in_write = 0, 0
    until = time.monotonic() + DEADLINE_S
    while killed < KILLS and stormy.poll() is None and time.monotonic() < until:
        wait_for_write = in_write < IN_WRITE and killed % 3 == 1
        # Each life is aimed a little further than the one before, so that the kills spread over the whole run, start-up included.
        aim_step = dice.randint(0, max(1, (killed + 1) * (total - 2) // KILLS))
        aim_delay = dice.random() * 1.5
        process = trainer(record)
        if process is None:
            time.sleep(0.02)
            continue
        if wait_for_write:
            if not any((output / "checkpoints").glob(".staging-*/*")):
                time.sleep(0.001)
                continue
        elif newest_step(output / "events.jsonl") < aim_step:
            time.sleep(0.02)
            continue
        else:
            time.sleep(aim_delay)
        try:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
        except (ProcessLookupError, psutil.Error):
            continue
        killed += 1
        in_write += wait_for_write
    answer, _ = stormy.communicate(timeout=max(60.0, until - time.monotonic()))
    assert stormy.returncode == 0, answer
    assert killed == KILLS
    assert in_write >= IN_WRITE
    data = json.loads(answer)["data"]
    assert data["resumes"] > 0
    assert data["steps"] == total
    assert checksums(output) == checksums(calm_output)
    assert losses(output) == losses(calm_output)
