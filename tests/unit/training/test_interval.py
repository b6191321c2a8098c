"""The time between two saves follows the measured cost of a save and the risk, where the recipe leaves it open."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.beat import DEFAULT_PREEMPTION_H, LONGEST_S, SHORTEST_S, preemption_hours, save_interval_s
from runtime.config.load import check_text
from runtime.training.interval import SaveBeat

BASE = "base_model: org/m\nlearning_rate: 0.001\ndatasets: [{path: org/d, type: alpaca}]\n"


def config(text: str) -> Any:
    checked = check_text(BASE + text, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return checked.config


@pytest.mark.parametrize(
    ("save_s", "hours", "send_s", "expected"),
    [
        (20.0, 2.3, 0.0, math.sqrt(2 * 20 * 2.3 * 3600)),
        (0.001, 4.0, 0.0, SHORTEST_S),
        (600.0, 10.0, 0.0, LONGEST_S),
        (600.0, 0.5, 0.0, 900.0),
        (600.0, 0.02, 0.0, 36.0),
        (0.001, 4.0, 90.0, 90.0),
        (600.0, 10.0, 7200.0, 7200.0),
    ],
)
def test_young_within_bounds(save_s: float, hours: float, send_s: float, expected: float) -> None:
    assert save_interval_s(save_s, hours, send_s=send_s) == pytest.approx(expected)


@given(save_s=st.floats(0, 1e4), more=st.floats(0, 1e4), hours=st.floats(0.01, 1000))
def test_dearer_saves_are_rarer_and_always_within_bounds(save_s: float, more: float, hours: float) -> None:
    interval = save_interval_s(save_s, hours)
    assert interval <= save_interval_s(save_s + more, hours)
    assert min(SHORTEST_S, hours * 1800) <= interval <= min(LONGEST_S, hours * 1800)


@pytest.mark.parametrize(("save_s", "hours"), [(1.0, 0.0), (-1.0, 1.0), (math.nan, 1.0)])
def test_impossible_figures_are_refused(save_s: float, hours: float) -> None:
    with pytest.raises(ValueError, match="no interval"):
        save_interval_s(save_s, hours)


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        ("", {}, None),
        ("launch: {storage: /mnt/runs}\n", {}, DEFAULT_PREEMPTION_H),
        ("launch: {spot: true}\n", {}, DEFAULT_PREEMPTION_H),
        ("launch: {spot: false}\n", {}, None),
        ("", {"LAUNCHER_PREEMPTION_H": "2.5"}, 2.5),
        ("launch: {preemption_h: 9}\n", {"LAUNCHER_PREEMPTION_H": "2.5"}, 9.0),
        ("launch: {storage: /mnt/runs}\n", {"LAUNCHER_PREEMPTION_H": "soon"}, DEFAULT_PREEMPTION_H),
        ("", {"LAUNCHER_PREEMPTION_H": "-1"}, None),
        ("", {"LAUNCHER_PREEMPTION_H": "inf"}, None),
        ("save_steps: 10\nlaunch: {preemption_h: 9, storage: /mnt/runs}\n", {}, None),
        ("saves_per_epoch: 2\nlaunch: {spot: true}\n", {}, None),
        ("saves_per_epoch: 0\nlaunch: {spot: true}\n", {}, None),
        ("save_strategy: 'no'\nlaunch: {spot: true}\n", {}, None),
    ],
)
def test_the_recipe_wins_and_the_risk_decides(text: str, variables: dict[str, str], expected: float | None) -> None:
    assert preemption_hours(config(text), variables) == expected


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_save_comes_early_and_each_one_moves_the_next() -> None:
    clock, told = Clock(), list[dict[str, Any]]()
    beat = SaveBeat(preemption_h=4.0, emit=lambda kind, step, **fields: told.append({"kind": kind, "step": step} | fields), clock=clock)
    clock.now += 1000
    beat.begin()
    clock.now += SHORTEST_S - 1
    assert not beat.due()
    clock.now += 1
    assert beat.due()
    beat.saved(10.0, step=7)
    assert not beat.due()
    assert told == [{"kind": "save_interval", "step": 7, "seconds": round(math.sqrt(2 * 10 * 4 * 3600), 1), "save_s": 10.0, "mtbp_h": 4.0}]
    clock.now += beat.interval_s - 1
    assert not beat.due()
    beat.saved(10.2)
    assert len(told) == 1
    beat.saved(30.0)
    assert len(told) == 2
    assert told[1]["seconds"] > told[0]["seconds"]
    clock.now += beat.interval_s
    assert beat.due()


def test_saves_wait_for_uploads_that_take_longer() -> None:
    beat = SaveBeat(preemption_h=4.0, emit=lambda *_, **__: None, clock=Clock())
    beat.saved(0.1, send_s=300.0)
    assert beat.interval_s == 300.0


def test_where_machines_live_for_a_minute_the_first_save_comes_sooner() -> None:
    assert SaveBeat(preemption_h=0.01, emit=lambda *_, **__: None, clock=Clock()).interval_s == 18.0
