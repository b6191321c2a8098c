"""`launcher resume` says where a run goes on, before it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.backend.protocol import RunStatus
from launcher.cli.resume import _origin
from launcher.state.outputs import CheckpointFolder
from launcher.state.progress import fold
from runtime.record import RunRecord


def status(storage: str | None, *steps: int) -> RunStatus:
    record = RunRecord(run="one", recipe="r.yml", output_dir="/out", created=1.0, state="stopped", python="/python", storage=storage)
    checkpoints = tuple(CheckpointFolder(step=step, path=Path("/x"), sealed=True) for step in steps)
    return RunStatus(record=record, progress=fold([]), checkpoints=checkpoints)


@pytest.mark.parametrize(
    ("local", "stored", "said"),
    [
        ([], [], "the start, as no checkpoint is sealed"),
        ([10, 20], [], "the checkpoint of step 20"),
        ([], [10, 20], "the checkpoint of step 20"),
        ([10], [20], "the checkpoint of step 20"),
        ([30], [20], "the checkpoint of step 30"),
    ],
)
def test_it_goes_on_from_the_newest_in_either_place(tmp_path: Path, local: list[int], stored: list[int], said: str) -> None:
    for step in stored:
        folder = tmp_path / "one" / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
    unfinished = tmp_path / "one" / "checkpoints" / "step-00000090"
    unfinished.mkdir(parents=True)
    (unfinished / "model.bin").touch()
    assert _origin(status(str(tmp_path), *local)) == said


def test_a_storage_that_cannot_be_read_does_not_stop_it() -> None:
    assert _origin(status("ftp://nowhere")) == "the newest in its storage, which cannot be read from here"
    assert _origin(status("ftp://nowhere", 10)) == "the checkpoint of step 10, or the newest in its storage, which cannot be read from here"
