"""What own runs met on spot machines, and what it does to the risk of the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.estimate.preemption import Seen, hours_between_preemptions
from launcher.plan.seen import nothing_seen, seen_below, seen_in
from launcher.state.runs import RunFolder
from launcher.state.usage import Life, Usage, keep_usage, read_usage


def life(number: int, hours: float, *, submission: str = "a", where: str = "aws/us-east-1/us-east-1a", ended: bool = False) -> Life:
    return Life(number=number, submission=submission, where=where, began=0.0, beat=3600.0 * hours, ended=ended)


def run(root: Path, name: str, usage: Usage, launch: str) -> None:
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    RunFolder(path=folder).config_path.write_text(f"base_model: x\nlaunch: {launch}\n", encoding="utf-8")
    keep_usage(folder, usage)


def test_a_machine_that_another_followed_was_taken_away() -> None:
    usage = Usage(lives=[life(1, 2.0), life(2, 3.0, ended=True), life(3, 1.0, ended=True), life(4, 5.0, submission="b")])
    # The third ended, and the fourth belongs to what the user asked for later.
    assert seen_in(usage) == {"aws": Seen(hours=11.0, preemptions=2)}


def test_where_a_machine_was_decides_whose_risk_it_was() -> None:
    usage = Usage(lives=[life(1, 2.0, where="gcp/europe-west4/a"), life(2, 3.0), life(3, 1.0, where="")])
    assert seen_in(usage) == {"gcp": Seen(hours=2.0, preemptions=1), "aws": Seen(hours=3.0, preemptions=1)}


def test_runs_of_one_size_add_up_and_others_do_not_count(tmp_path: Path) -> None:
    usage = Usage(lives=[life(1, 4.0), life(2, 6.0)])
    run(tmp_path, "one", usage, "{gpus: 'A100:8', spot: true}")
    run(tmp_path, "two", usage, "{gpus: ['H100:8', 'A100:8'], spot: true}")
    run(tmp_path, "on-demand", usage, "{gpus: 'A100:8'}")
    run(tmp_path, "either-size", usage, "{gpus: ['A100:8', 'A100:4'], spot: true}")
    run(tmp_path, "single", usage, "{gpus: A100, spot: true}")
    seen = seen_below(tmp_path)
    assert seen("AWS", 8) == Seen(hours=20.0, preemptions=2)
    assert seen("aws", 1) == Seen(hours=10.0, preemptions=1)
    assert seen("gcp", 8) is None
    assert seen("aws", 4) is None
    risk = hours_between_preemptions("aws", 8, seen=seen("aws", 8))
    assert "2 preemptions in 20 h of own runs" in risk.basis
    assert risk.value != hours_between_preemptions("aws", 8, seen=nothing_seen("aws", 8)).value


@pytest.mark.parametrize("kept", ["", "{", '{"lives": 3}'])
def test_what_cannot_be_read_was_not_seen(tmp_path: Path, kept: str) -> None:
    run(tmp_path, "one", Usage(lives=[life(1, 4.0)]), "{gpus: 'A100:8', spot: true}")
    (tmp_path / "runs" / "one" / "usage.json").write_text(kept, encoding="utf-8")
    assert seen_below(tmp_path)("aws", 8) is None
    assert read_usage(tmp_path / "runs" / "one") is None


def test_a_recipe_that_cannot_be_read_teaches_nothing(tmp_path: Path) -> None:
    run(tmp_path, "one", Usage(lives=[life(1, 4.0)]), "{gpus: [")
    assert seen_below(tmp_path)("aws", 8) is None
