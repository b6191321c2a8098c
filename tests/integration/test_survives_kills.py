"""The demo's training process is killed five times, or twenty with LONG_TESTS set, some of them while it writes a checkpoint, and ends with the weights of an undisturbed run."""

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
KILLS = 20 if os.environ.get("LONG_TESTS") else 5
DEADLINE_S = 900
# The demo with smaller steps and more checkpoints. The kills cannot add up to its end: none of them comes later than 14 steps into a life, and a life goes
# on from the last checkpoint.
SMALLER = ("micro_batch_size=2", f"max_steps={KILLS * 8}", "save_steps=4", "eval_steps=25")


def start(name: str, where: Path) -> tuple[subprocess.Popen[str], Path]:
    """The launcher process of one demo run, and the run's output folder."""
    output = where / name
    command = [sys.executable, "-m", "launcher", "up", "examples/quickstart.yml", "--cloud", "local", "-y", "--json", "--name", name]
    for setting in SMALLER:
        command += ["--set", setting]
    command += ["--set", f"output_dir={output}", "--set", "launch.recovery.max_restarts_without_progress=40"]
    environment = {
        **os.environ,
        "LAUNCHER_STATE_DIR": str(where / "state"),
        "LAUNCHER_RUNTIME_PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True), output


def trainer(record: Path) -> psutil.Process | None:
    """The training process that the run record names, while it lives and trains."""
    try:
        process = psutil.Process(json.loads(record.read_text())["process_group"])
        return process if "train" in process.cmdline() else None
    except (FileNotFoundError, ValueError, TypeError, KeyError, psutil.Error):
        return None


def loss_count(events: Path) -> int:
    """How many optimizer steps the run has logged, repeated ones too."""
    return events.read_text(errors="replace").count('"kind":"loss"') if events.exists() else 0


def moment(number: int, dice: random.Random) -> tuple[str, float]:
    """When the life before kill `number` ends: while a checkpoint is written, so many seconds after its start, or after so many steps."""
    if number % 3 == 1:
        return "write", 0.0
    if number % 5 == 0:
        return "start", dice.random() * 8
    return "step", dice.randint(1, 13) + dice.random()


def reached(kind: str, amount: float, *, output: Path, began: float, steps: int) -> bool:
    """Whether the moment has come. `steps` were logged when this life was first seen, at `began`."""
    if kind == "write":
        return any((output / "checkpoints").glob(".staging-*/*"))
    if kind == "start":
        return time.monotonic() - began > amount
    return loss_count(output / "events.jsonl") >= steps + int(amount)


def checksums(output: Path) -> dict[str, str]:
    """Checksum of every weight file of the finished run, by its path in `final`."""
    final = output / "final"
    return {str(file.relative_to(final)): xxhash.xxh3_128_hexdigest(file.read_bytes()) for file in sorted(final.rglob("*.safetensors"))}


def losses(output: Path) -> dict[int, float]:
    """The last loss of every step: repeated steps after a resume count once."""
    events = [json.loads(line) for line in (output / "events.jsonl").read_text().splitlines() if line.endswith("}")]
    return {event["step"]: event["loss"] for event in events if event["kind"] == "loss"}


def test_kills_change_nothing(tmp_path: Path) -> None:
    calm, calm_output = start("calm", tmp_path)
    answer, _ = calm.communicate(timeout=DEADLINE_S)
    assert calm.returncode == 0, answer
    total = json.loads(answer)["data"]["steps"]

    dice = random.Random(20)
    stormy, output = start("stormy", tmp_path)
    record = tmp_path / "state" / "runs" / "stormy" / "run.json"
    until = time.monotonic() + DEADLINE_S
    for number in range(KILLS):
        kind, amount = moment(number, dice)
        began, steps = time.monotonic(), loss_count(output / "events.jsonl")
        while True:
            assert stormy.poll() is None, f"it ended before kill {number}"
            assert time.monotonic() < until
            process = trainer(record)
            if process is None:
                began = time.monotonic()
            elif reached(kind, amount, output=output, began=began, steps=steps):
                break
            time.sleep(0.001 if kind == "write" else 0.02)
        time.sleep((amount % 1) * 0.5 if kind == "step" else 0.0)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
    answer, _ = stormy.communicate(timeout=max(60.0, until - time.monotonic()))
    assert stormy.returncode == 0, answer
    data = json.loads(answer)["data"]
    assert data["resumes"] > KILLS // 2
    assert data["steps"] == total
    assert checksums(output) == checksums(calm_output)
    assert losses(output) == losses(calm_output)
