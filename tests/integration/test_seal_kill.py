"""Real SIGKILLs at random moments while a process seals, uploads and prunes, again and again: no checkpoint is lost, none is half there."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.restore import find_newest
from runtime.checkpoint.retention import Keep, prune, prune_stored
from runtime.checkpoint.sealing import new_staging, seal, sweep_staging
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store

KILLS = 40


def test_forty_kills(tmp_path: Path) -> None:
    chance = random.Random(7)
    newest = {"start": 0, "sealed": 0, "stored": 0}
    for attempt in range(1, KILLS + 1):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                _train(tmp_path, attempt, writer)
            finally:
                # Only an error gets here; the closed pipe tells the parent.
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader) as said:
            lines = [said.readline() for _ in range(1 + chance.randint(0, 4))]
            assert all(lines), f"attempt {attempt} could not go on from what the kill before it left"
            assert int(lines[0].split()[1]) >= newest["sealed"]
            time.sleep(chance.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            lines += [line for line in said if line.endswith("\n")]
        os.waitpid(child, 0)
        for line in lines:
            word, step = line.split()
            newest[word] = max(newest[word], int(step))
        _check(tmp_path, newest)
    assert newest["stored"] > KILLS // 2, "the writer hardly got to work"
    assert len(list((tmp_path / "checkpoints").iterdir())) <= 6, "leftovers pile up"


def _train(folder: Path, attempt: int, pipe: int) -> None:
    """Seals checkpoints without end and says so, as a training process would."""
    checkpoints = folder / "checkpoints"
    place = RunStore(store=DirectoryStore(folder / "store"), run="run")
    sweep_staging(checkpoints)
    found = find_newest([checkpoints])
    step = 0 if found is None else found.step
    os.write(pipe, f"start {step}\n".encode())
    while True:
        step += 1
        staging = new_staging(checkpoints)
        for name in ("model.safetensors", "optimizer.pt", "trainer_state.json"):
            (staging / name).write_bytes(bytes([step % 256]) * 60_000)
        final = checkpoints / f"step-{step:08d}"
        seal(staging, final, step=step, config_hash="abc", world_size=1, attempt=attempt)
        os.write(pipe, f"sealed {step}\n".encode())
        seal_in_store(place, final, writer=f"{attempt}-x")
        os.write(pipe, f"stored {step}\n".encode())
        prune(checkpoints, Keep(last=2))
        prune_stored(place, Keep(last=2), attempt=attempt)


def _check(folder: Path, newest: dict[str, int]) -> None:
    checkpoints = folder / "checkpoints"
    for sealed in checkpoints.glob("step-*"):
        assert verify(sealed, read_manifest(sealed)) == ()
    found = find_newest([checkpoints])
    assert (found.step if found else 0) >= newest["sealed"]
    stored = find_newest([RunStore(store=DirectoryStore(folder / "store"), run="run")])
    assert (stored.step if stored else 0) >= newest["stored"]
    # A half upload may be newer; a manifest whose objects do not match may not exist.
    assert stored is None or all(problem.code == "unsealed" for problem in stored.skipped)
