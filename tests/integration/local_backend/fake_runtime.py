"""A stand-in for a Python with the training stack: keeps the process contract of `python -m runtime`, without torch and within milliseconds.

What it does wrong on purpose comes from `fake.json` in the working folder: `step_s`, `publish_exit`, `fail_at` (`fail_run`: only in that run), `die_at` (step: how often), `deaf`
(ignore SIGTERM), `worker` (leave a process in a session of its own behind).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from runtime.checkpoint.layout import step_folder
from runtime.checkpoint.sealing import seal
from runtime.checkpoint.staging import open_staging
from runtime.events import EventLog

asked: list[int] = []


def main(arguments: list[str]) -> int:
    if arguments[0] == "-c":
        print("missing:")
        return 0
    assert arguments[:2] == ["-m", "runtime"], arguments
    command, config_path = arguments[2], Path(arguments[3])
    config = yaml.safe_load(config_path.read_text())
    wrong = json.loads(Path("fake.json").read_text()) if Path("fake.json").exists() else {}
    output = Path(config["output_dir"])
    print(f"fake runtime: {command}", file=sys.stderr, flush=True)
    print("environment: " + " ".join(sorted(os.environ)), file=sys.stderr, flush=True)
    if command == "train":
        return train(config, output, wrong)
    if command == "publish":
        return publish(output, wrong)
    print(
        json.dumps({"ok": True, "data": {"command": command, "arguments": arguments[4:], "run_secret_seen": "CANARY_TOKEN" in os.environ}})
    )
    return int(wrong.get("command_exit", 0))


def train(config: dict, output: Path, wrong: dict) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if wrong.get("deaf") else lambda number, frame: asked.append(number))
    attempt, run = int(os.environ["LAUNCHER_ATTEMPT"]), os.environ["LAUNCHER_RUN"]
    events = EventLog(output / "events.jsonl")
    events.append("started", attempt=attempt, world_size=1)
    events.append("stage", name="data")
    if wrong.get("worker"):
        worker = subprocess.Popen(["sleep", "300"], start_new_session=True)
        (output / "worker.pid").write_text(str(worker.pid))
    start = max((int(entry.name[5:]) for entry in (output / "checkpoints").glob("step-*")), default=0)
    if start:
        events.append(
            "resumed", start, from_step=start, path=str(output / "checkpoints" / step_folder(start)), reason="newest sealed", skipped=[]
        )
    total, every = config["max_steps"], config.get("save_steps", 5)
    events.append("plan", steps=total, epochs=1)
    for step in range(start + 1, total + 1):
        time.sleep(wrong.get("step_s", 0.005))
        events.append(
            "loss",
            step,
            loss=5.0 / step,
            learning_rate=1e-4,
            grad_norm=1.0,
            epoch=step / total,
            tokens=64,
            tokens_per_s=1000.0,
            memory_gib=0.5,
        )
        if step == wrong.get("fail_at") and (wrong.get("fail_run") or run) == run:
            events.append("failed", message="the fake was told to fail")
            return 5
        if step % every == 0:
            keep(output / "checkpoints", step_folder(step), step, "checkpoint", events)
        if asked:
            if step % every:
                keep(output / "checkpoints", step_folder(step), step, "checkpoint", events)
            return 6
        hurt(step, output, events, wrong)
    keep(output, "final", total, "final", events)
    events.append("trained", total, steps=total, final_loss=5.0 / total, seconds=1.0)
    return 0


def keep(parent: Path, name: str, step: int, kind: str, events: EventLog) -> None:
    with open_staging(parent) as staging:
        (staging / "weights.txt").write_text(f"weights after {step}\n")
        seal(staging, parent / name, step=step, config_hash="fake", world_size=1, run=os.environ["LAUNCHER_RUN"], kind=kind)
    if kind == "checkpoint":
        events.append("checkpoint", step, path=str(parent / name), sealed=True, bytes=20, seconds=0.0)


def hurt(step: int, output: Path, events: EventLog, wrong: dict) -> None:
    done_file = output / "chaos.json"
    done = json.loads(done_file.read_text()) if done_file.exists() else {}
    deaths = done.get(str(step), 0)
    if deaths < wrong.get("die_at", {}).get(str(step), 0):
        done_file.write_text(json.dumps(done | {str(step): deaths + 1}))
        os.kill(os.getpid(), signal.SIGKILL)
    for item in filter(None, os.environ.get("LAUNCHER_CHAOS", "").split(",")):
        kind, _, at = item.partition("@")
        if int(at.split(":")[0]) == step and item not in done:
            done_file.write_text(json.dumps(done | {item: 1}))
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            events.append("preempted", step, deadline_s=5.0, reason="chaos")
            keep(output / "checkpoints", step_folder(step), step, "checkpoint", events)
            sys.exit(6)


def publish(output: Path, wrong: dict) -> int:
    events = EventLog(output / "events.jsonl")
    events.append("stage", name="merge")
    if wrong.get("publish_exit"):
        events.append("failed", message="the fake could not verify")
        return int(wrong["publish_exit"])
    events.append("verified", path=str(output / "final"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
