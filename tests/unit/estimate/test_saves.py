"""When a run saves, by the runtime's own rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.estimate.estimate import estimate
from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import cards
from launcher.estimate.model_source import find_model
from launcher.estimate.range import exactly
from launcher.estimate.rows import DataSize
from launcher.estimate.saves import Saves
from launcher.show.saves import saves_text
from runtime.config.beat import DEFAULT_PREEMPTION_H, LONGEST_S, SHORTEST_S, save_interval_s
from runtime.config.schema import TrainingConfig
from runtime.training.cadence import cadence_of

MODEL = find_model("meta-llama/Llama-3.1-8B", environment={})
DATA = DataSize(rows=exactly(8000), tokens=exactly(4_000_000), longest=2048, basis="counted", evaluated=0.01)


def config_of(**options: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "base_model": "meta-llama/Llama-3.1-8B",
            "learning_rate": 1e-4,
            "datasets": [{"path": "x", "type": "alpaca"}],
            "micro_batch_size": 4,
            "num_epochs": 2,
            "val_set_size": 0.01,
            **options,
        }
    )


def saves(preemption_h: float | None = None, **options: Any) -> Saves:
    return estimate(config_of(**options), MODEL, cards(parse_gpus("H100:8")), DATA, preemption_h=preemption_h).saves


@pytest.mark.parametrize(
    ("options", "when", "every", "count"),
    [
        ({}, "steps", 250, 2),
        ({"save_steps": 100}, "steps", 100, 5),
        ({"save_steps": 0.1}, "steps", 50, 10),
        ({"saves_per_epoch": 5}, "steps", 50, 10),
        ({"saves_per_epoch": 0}, "never", 0, 0),
        ({"save_strategy": "no"}, "never", 0, 0),
        ({"save_strategy": "no", "save_first_step": True}, "never", 0, 1),
        ({"save_strategy": "best", "eval_steps": 50}, "best", 0, 10),
        ({"save_strategy": "epoch", "launch": {"storage": "s3://b/r"}}, "steps", 250, 2),
        ({"save_first_step": True}, "steps", 250, 3),
    ],
)
def test_the_recipe_says_when(options: dict[str, Any], when: str, every: int, count: int) -> None:
    found = saves(**options)
    assert (found.when, found.every_steps, found.count) == (when, every, count)
    beat = cadence_of(config_of(**options), rows=8000, world_size=8, evaluates=True)
    assert beat.save_steps == every


@pytest.mark.parametrize(
    ("options", "told", "hours"),
    [
        ({"launch": {"storage": "s3://b/r"}}, None, DEFAULT_PREEMPTION_H),
        ({"launch": {"spot": True}}, None, DEFAULT_PREEMPTION_H),
        ({"launch": {"spot": True, "preemption_h": 9}}, 2.0, 9),
        ({}, 2.0, 2.0),
    ],
)
def test_a_risk_or_a_store_leave_it_to_the_clock(options: dict[str, Any], told: float | None, hours: float) -> None:
    found = saves(told, num_epochs=60, **options)
    assert (found.when, found.risk_h, found.every_steps) == ("clock", hours, 0)
    sent_s = found.checkpoint_gb / 0.2 if found.stored else 0.0
    assert found.every_h == pytest.approx(save_interval_s(found.save_h * 3600, hours, send_s=sent_s) / 3600)
    assert found.training_h is not None
    assert found.count == 2 + int((found.training_h * 3600 - SHORTEST_S) / (found.every_h * 3600))


def test_a_spot_machine_changes_what_the_recipe_leaves_open_alone() -> None:
    left, said = saves(), saves(save_steps=100)
    assert left.at_risk(1.0).when == "clock"
    assert said.at_risk(1.0) == said


def test_what_a_kill_costs_is_the_time_between_two_saves_or_all_of_it() -> None:
    found, never = saves(save_steps=100), saves(save_strategy="no")
    assert found.lost_h == pytest.approx(found.training_h * 100 / 500)  # type: ignore[operator]
    assert never.lost_h == never.training_h
    assert "no checkpoints before the end" in saves_text(never, "/out")
    assert saves_text(found, "/out").startswith("every 100 steps (")
    assert "reckoning with a preemption in 4.0 h → s3://b/r" in saves_text(saves(launch={"spot": True}), "s3://b/r")


@given(risk=st.floats(0.1, 100), hours=st.floats(0.0, 500))
def test_the_clock_keeps_to_its_bounds(risk: float, hours: float) -> None:
    found = BASE.at_risk(risk).over(hours)
    assert found.count >= 1
    assert found.every_h is not None
    assert found.every_h <= max(hours, 0)
    if hours > LONGEST_S / 3600:
        assert min(SHORTEST_S, risk * 1800) <= found.every_h * 3600 + 1e-6
        assert found.count >= hours * 3600 / LONGEST_S - 1


BASE = saves()
