"""What the machines of a run agree on before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from boards import MemoryBoard
from meeting import Meeting

from runtime.config.problem import ExitCode, UserError
from runtime.training import company as subject
from runtime.training.company import meet
from runtime.training.folder import RunFolder, claimed


def job(tmp_path: Path, rank: Any, said: list[str], **values: Any) -> Any:
    config = SimpleNamespace(launch=SimpleNamespace(storage="here"), hub_model_id=None, hub_strategy=None, ddp_timeout=None)
    for name, value in values.items():
        setattr(config.launch if name == "storage" else config, name, value)
    return SimpleNamespace(
        rank=rank,
        folder=RunFolder(path=tmp_path / f"machine-{rank.index}"),
        run=f"run-{rank.index}",
        surroundings=SimpleNamespace(run="run", attempt=3 - rank.index),
        config=config,
        ends=ExitStack(),
        vigils=[],
        lasts=[],
        progress=SimpleNamespace(say=said.append),
    )


@pytest.fixture
def met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`met(storage=None)`: what two machines with disks of their own come to, and what was said."""
    board, jobs = MemoryBoard(), []
    monkeypatch.setattr(subject, "open_board", lambda _rank: board)

    def meeting(**values: Any) -> tuple[list[Any], list[str]]:
        said: list[str] = []

        def come(rank: Any) -> Any:
            jobs.append(job(tmp_path, rank, said, **values))
            return meet(jobs[-1])

        return Meeting(2).run(come, [0, 0]), said

    yield meeting
    for one in sorted(jobs, key=lambda one: -one.rank.index):
        for vigil in one.vigils:
            vigil.end()
        one.ends.close()


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
