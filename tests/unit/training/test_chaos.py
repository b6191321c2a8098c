"""Planned deaths strike once in the life of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.config.problem import UserError
from runtime.training.chaos import Chaos, parse_chaos


def test_the_three_forms() -> None:
    assert [(blow.kind, blow.step, blow.deadline_s) for blow in parse_chaos("kill@7, preempt@12,preempt@13:2.5,")] == [
        ("kill", 7, 30.0),
        ("preempt", 12, 30.0),
        ("preempt", 13, 2.5),
    ]


@pytest.mark.parametrize("text", ["kill", "kill@", "kill@7:3", "preempt@x", "kill@-1", "burn@3"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no chaos"):
        parse_chaos(text)


def test_a_struck_blow_is_remembered_by_the_next_attempt(tmp_path: Path) -> None:
    journal = tmp_path / "chaos.json"
    blows = parse_chaos("kill@3,kill@3,preempt@5")
    first = Chaos(blows, journal)
    due = first.due(3)
    assert due is not None
    first.strike(due, writes=True)
    second = Chaos(blows, journal)
    again = second.due(3)
    assert again is not None, "the same blow planned twice strikes twice"
    second.strike(again, writes=True)
    third = Chaos(blows, journal)
    assert third.due(3) is None
    assert third.due(5) is not None


def test_a_process_that_does_not_write_remembers_for_itself(tmp_path: Path) -> None:
    chaos = Chaos(parse_chaos("kill@3"), tmp_path / "chaos.json")
    chaos.strike(chaos.due(3), writes=False)  # type: ignore[arg-type]
    assert chaos.due(3) is None
    assert not (tmp_path / "chaos.json").exists()


def test_a_torn_journal_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / "chaos.json").write_text('{"fired": ["kil')
    assert Chaos(parse_chaos("kill@3"), tmp_path / "chaos.json").due(3) is not None
