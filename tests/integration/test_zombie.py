"""Two real processes of one run over one directory: the first is stopped, replaced, and wakes up when its successor has gone on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.lease import Lease
from runtime.checkpoint.restore import find_newest, restore_newest
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.checkpoint.upload import Uploader
from runtime.config.problem import ExitCode, UserError
from runtime.training.folder import RunFolder
from runtime.training.processes import Rank
from runtime.training.saving import Saver

LONG_S = 60.0


def train(root: Path, attempt: int) -> int:
    """A training process as far as its checkpoints go, on a machine of its own: restores, then saves a step every few milliseconds."""
    place = RunStore(store=DirectoryStore(root / "store"), run="run")
    folder = RunFolder(path=root / f"machine-{attempt}")
    (root / f"said-{attempt}").touch()

    def emit(kind: str, step: int | None = None, **fields: object) -> None:
        with (root / f"said-{attempt}").open("a") as said:
            said.write(f"{kind} {step} {fields.get('message', '')}\n")

    def write(staging: Path) -> None:
        (staging / "model.safetensors").write_bytes(f"step {step} by attempt {attempt}".encode() * 1000)

    uploader = Uploader(place, attempt=attempt, on_event=emit, lease=Lease(place, attempt=attempt))
    saver = Saver(
        folder=folder,
        rank=Rank.from_environment({}),
        config_text="",
        config_hash="abc",
        emit=emit,
        run="run",
        attempt=attempt,
        limit=2,
        uploader=uploader,
    )
    found = restore_newest([folder.checkpoints, place], folder.checkpoints).found
    step = 0 if found is None else found.step
    emit("start", step)
    try:
        while True:
            step += 1
            saver.save(step, write)
            time.sleep(0.01)
    except UserError as error:
        emit("ended", step, message=error.problems[0].message)
        return int(error.exit_code)


@pytest.fixture
def begin(tmp_path: Path) -> Callable[[int], int]:
    """`begin(1)`: the process id of attempt 1."""

    def fork(attempt: int) -> int:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                code = train(tmp_path, attempt)
            finally:
                sys.stdout.flush()
                os._exit(code)
        return child

    return fork


def await_uploads(root: Path, attempt: int, count: int) -> list[int]:
    deadline = time.monotonic() + LONG_S
    while time.monotonic() < deadline:
        path = root / f"said-{attempt}"
        words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        steps = [int(line[1]) for line in words if line[0] == "uploaded"]
        if len(steps) >= count:
            return steps
        time.sleep(0.01)
    raise AssertionError(f"attempt {attempt} uploaded too little")


@pytest.mark.parametrize("moment_s", [0.0, 0.007, 0.02])
def test_a_zombie_that_wakes_up_stops_and_says_why(tmp_path: Path, begin: Callable[[int], int], moment_s: float) -> None:
    place = RunStore(store=DirectoryStore(tmp_path / "store"), run="run")
    zombie = begin(1)
    await_uploads(tmp_path, 1, 3)
    time.sleep(moment_s)
    os.kill(zombie, signal.SIGSTOP)
    successor = begin(2)
    try:
        await_uploads(tmp_path, 2, 3)
        os.kill(zombie, signal.SIGCONT)
        assert os.waitstatus_to_exitcode(os.waitpid(zombie, 0)[1]) == ExitCode.NOT_VERIFIED
        before = max(await_uploads(tmp_path, 2, 3))
        await_uploads(tmp_path, 2, 6)
    finally:
        os.kill(successor, signal.SIGKILL)
        os.waitpid(successor, 0)
    said = (tmp_path / "said-1").read_text()
    # By the lease, or, when it was past that already, by the manifest that its successor has put for the same step.
    assert "attempt 2 (process " in said or "attempt 2 has already sealed step " in said
    assert said.splitlines()[-1].endswith("this is attempt 1, whose place has been taken")
    found = find_newest([place])
    assert found is not None
    assert found.step >= before
    assert found.manifest.attempt == 2
    assert verify_stored(place, found.manifest) == ()
