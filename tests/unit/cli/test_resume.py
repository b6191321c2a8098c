"""`launcher resume` says where a run goes on, before it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from launcher.backend.protocol import RunStatus, Spent
from launcher.cli.resume import _money, _origin
from launcher.cli.watching import problems_of
from launcher.state.outputs import CheckpointFolder
from launcher.state.progress import fold
from launcher.state.usage import Lost
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


@pytest.mark.parametrize(
    ("backend", "spent", "said"),
    [
        ("local", None, "this machine costs nothing, so a cap on money changes nothing"),
        ("sky", None, "no machine has cost anything yet, so all of $3.00 is left"),
        ("sky", 1.25, "$1.25 spent so far, of $3.00 $1.75 are left"),
    ],
)
def test_it_is_said_what_a_new_cap_leaves(backend: str, spent: float | None, said: str) -> None:
    before = status(None)
    used = (
        Spent(hours=1.0, usd=spent, usd_per_h=1.25, where="aws", machines=1, lost=Lost(interruptions=0, waited_s=0.0, repeated_s=0.0))
        if spent
        else None
    )
    assert _money(replace(before, record=before.record.model_copy(update={"backend": backend}), spent=used), 3.0) == said


@pytest.mark.parametrize(("exit_code", "code"), [(4, "no-capacity"), (5, "training-failed"), (8, "remote-refused")])
def test_why_a_run_failed_is_told_by_its_code(exit_code: int, code: str) -> None:
    failed = status(None)
    record = failed.record.model_copy(update={"state": "failed", "exit_code": exit_code, "backend": "sky"})
    (problem,) = problems_of(replace(failed, record=record))
    assert problem.code == code
    assert ("allow more" in problem.fix) == (code == "no-capacity")


def test_a_storage_that_cannot_be_read_does_not_stop_it() -> None:
    assert _origin(status("ftp://nowhere")) == "the newest in its storage, which cannot be read from here"
    assert _origin(status("ftp://nowhere", 10)) == "the checkpoint of step 10, or the newest in its storage, which cannot be read from here"
