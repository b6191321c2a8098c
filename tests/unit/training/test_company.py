"""What the machines of a run agree on before it trains, and which failure is believed when one of them ends it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from boards import MemoryBoard
from meeting import Meeting

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.training import company as subject
from runtime.training.company import Company, meet
from runtime.training.disks import Disk
from runtime.training.folder import RunFolder, claimed


def job(tmp_path: Path, rank: Any, said: list[str], **values: Any) -> Any:
    config = SimpleNamespace(launch=SimpleNamespace(storage="here"), hub_model_id=None, hub_strategy=None)
    for name, value in values.items():
        setattr(config.launch if name == "storage" else config, name, value)
    return SimpleNamespace(
        rank=rank,
        folder=RunFolder(path=tmp_path / f"machine-{rank.index}"),
        run=f"run-{rank.index}",
        surroundings=SimpleNamespace(run="run", attempt=3 - rank.index),
        config=config,
        ends=ExitStack(),
        believes=[],
        progress=SimpleNamespace(say=said.append),
    )


@pytest.fixture
def met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`met(storage=None)`: what two machines with disks of their own come to, and what was said."""
    board = MemoryBoard()
    monkeypatch.setattr(subject, "open_board", lambda _rank, *, serves: board if serves else None)

    def meeting(**values: Any) -> tuple[list[Any], list[str]]:
        said: list[str] = []
        return Meeting(2).run(lambda rank: meet(job(tmp_path, rank, said, **values)), [0, 0]), said

    return meeting


def test_all_take_the_heads_word_for_the_run_and_its_attempt(met: Any) -> None:
    (head, follower), said = met()
    assert (head.run, head.attempt, head.disk.index, head.serves) == ("run-0", 3, 0, True)
    assert (follower.run, follower.attempt, follower.disk.index, follower.serves) == ("run-0", 3, 1, True)
    assert head.writer == follower.writer
    assert head.writer.startswith("3-")
    assert len(head.word) == 8
    assert said == []


def test_without_a_storage_all_are_refused(met: Any) -> None:
    refused, _ = met(storage=None)
    assert [(error.problems[0].path, error.exit_code) for error in refused] == [("launch.storage", ExitCode.INVALID)] * 2


@pytest.mark.parametrize(("strategy", "refused", "lines"), [(None, False, 2), ("end", False, 0), ("checkpoint", True, 0)])
def test_copies_on_the_hub_are_left_out_aloud_or_refused(met: Any, strategy: str | None, refused: bool, lines: int) -> None:
    answers, said = met(hub_model_id="me/mine", hub_strategy=strategy)
    assert [isinstance(answer, UserError) for answer in answers] == [refused] * 2
    assert len(said) == lines


def test_a_folder_in_which_another_process_trains_ends_all(met: Any, tmp_path: Path) -> None:
    with claimed(RunFolder(path=tmp_path / "machine-1"), run=None):
        refused, _ = met()
    assert [error.problems[0].code for error in refused] == ["busy"] * 2


def test_the_first_failure_is_believed() -> None:
    board = MemoryBoard()
    head, follower = (
        Company(disk=Disk(index=index, count=2, first=index), serves=True, run="run", attempt=1, board=board) for index in (0, 1)
    )
    full = UserError(Problem(code="disk-full", message="the disk is full", fix="make room"), exit_code=ExitCode.TRAINING_FAILED)
    broken = UserError(Problem(code="training-failed", message="connection closed by peer"), exit_code=ExitCode.TRAINING_FAILED)
    assert follower.first_failure(full) is full
    heard = head.first_failure(broken)
    assert (heard.problems, heard.exit_code) == (full.problems, full.exit_code)
    assert follower.first_failure(broken) is broken
    board.gone = True
    assert head.first_failure(broken) is broken
    assert Company(disk=Disk(), serves=True, run="run", attempt=1).first_failure(broken) is broken
