"""Schedules are the curves of their formulas, and functions of the step alone."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.training.schedule import JAG_FLOOR, Curve, Jag, Schedule, curve_of, library_curve, schedule_of

UNSET = {
    "learning_rate": 2.0,
    "lr_scheduler": "cosine",
    "lr_scheduler_kwargs": None,
    "lr_div_factor": None,
    "cosine_min_lr_ratio": None,
    "cosine_constant_lr_ratio": None,
    "lr_quadratic_warmup": None,
    "warmup_steps": None,
    "jagged_restart_steps": None,
    "jagged_restart_warmup_steps": None,
    "jagged_restart_anneal_steps": None,
}


def curve(warmup: int = 10, total: int = 100, library: Curve = lambda step: 1.0, **options: Any) -> Curve:
    return curve_of(schedule_of(SimpleNamespace(**{**UNSET, **options})), lambda: library, warmup=warmup, total=total)


def test_rex() -> None:
    at = curve(lr_scheduler="rex", cosine_min_lr_ratio=0.2)
    assert [at(step) for step in (0, 5, 10)] == [0.0, 0.5, 1.0]
    assert at(55) == pytest.approx(0.2 + 0.8 * 0.5 / (0.1 + 0.9 * 0.5))
    assert at(100) == at(140) == pytest.approx(0.2)


def test_a_cosine_that_stays_at_its_floor() -> None:
    at = curve(cosine_min_lr_ratio=0.1, cosine_constant_lr_ratio=0.6)
    assert [at(0), at(5), at(10)] == [0.0, 0.5, 1.0]
    assert at(35) == pytest.approx(0.1 + 0.9 / 2)
    assert at(22) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 12 / 50)) / 2)
    assert at(60) == at(61) == at(99) == pytest.approx(0.1)


@pytest.mark.parametrize(("low", "high", "steps", "total"), [(1e-6, 1.0, None, 50), (1e-4, 1e-2, 20, 50)])
def test_a_sweep_grows_by_one_factor(low: float, high: float, steps: int | None, total: int) -> None:
    at = curve(lr_scheduler="log_sweep", warmup_steps=steps, lr_scheduler_kwargs={"min_lr": low, "max_lr": high}, total=total)
    last = (steps or total) - 1
    assert (at(0) * 2.0, at(last) * 2.0, at(last + 5) * 2.0) == pytest.approx((low, high, high))
    assert at(7) / at(6) == pytest.approx((high / low) ** (1 / last))


def test_quadratic_warmup_then_the_schedule() -> None:
    at = curve(lr_quadratic_warmup=True, library=lambda step: 100.0 + step)
    assert [at(0), at(5), at(9), at(10)] == [0.0, 0.25, pytest.approx(0.81), 110.0]


def test_restarts_scale_any_schedule() -> None:
    at = curve(jagged_restart_steps=20, jagged_restart_warmup_steps=4, jagged_restart_anneal_steps=5, library=lambda step: 1 - step / 100)
    assert [at(step) for step in (0, 3, 15)] == [1.0, 0.97, 0.85]
    assert at(18) == pytest.approx(0.82 * (JAG_FLOOR + (1 - JAG_FLOOR) * 2 / 5))
    assert at(20) == pytest.approx(0.8 * JAG_FLOOR)
    assert at(22) == pytest.approx(0.78 * (JAG_FLOOR + (1 - JAG_FLOOR) / 2))
    assert [at(24), at(35), at(64)] == [0.76, 0.65, pytest.approx(0.36)]


def test_restarts_of_a_shape_of_our_own() -> None:
    plain, jagged = curve(lr_scheduler="rex"), curve(lr_scheduler="rex", jagged_restart_steps=30, jagged_restart_warmup_steps=2)
    assert [jagged(step) for step in (5, 29, 32)] == [plain(step) for step in (5, 29, 32)]
    assert jagged(30) == pytest.approx(plain(30) * JAG_FLOOR)


@given(step=st.integers(0, 200), every=st.integers(2, 40), data=st.data())
def test_restarts_never_raise_the_rate(step: int, every: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, every))
    jag = Jag(every=every, warmup=warmup, anneal=data.draw(st.integers(0, every - warmup)))
    at = curve_of(Schedule(name="linear", peak=1.0, jag=jag), lambda: lambda step: 1 - step / 300, warmup=0, total=300)
    assert JAG_FLOOR * (1 - step / 300) * 0.999 <= at(step) <= 1 - step / 300


@pytest.mark.parametrize("wish", [{}, {"lr_scheduler": "linear"}, {"cosine_min_lr_ratio": 0.1}, {"warmup_steps": 3}])
def test_plain_schedules_are_left_to_transformers(wish: dict[str, Any]) -> None:
    assert schedule_of(SimpleNamespace(**{**UNSET, **wish})).of_transformers


@pytest.mark.train
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize(("warmup", "total"), [(10, 40), (1, 9), (0, 12), (6, 7)])
def test_one_cycle_is_torchs(strategy: str, warmup: int, total: int) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    settings = {"div_factor": 10.0, "final_div_factor": 100.0, "anneal_strategy": strategy}
    share = warmup / total
    # torch divides by zero where the peak would be the first step.
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, pct_start=share if warmup != 1 else 1.0001 / total, cycle_momentum=False, **settings
    )
    expected = []
    for _ in range(total):
        expected.append(reference.get_last_lr()[0])
        optimizer.step()
        if len(expected) < total:
            reference.step()
    options = {"final_div_factor": 100.0, "anneal_strategy": strategy}
    at = curve(lr_scheduler="one_cycle", lr_div_factor=10.0, lr_scheduler_kwargs=options, warmup=warmup, total=total)
    found = [at(step) for step in range(total)]
    assert found[1:] == pytest.approx(expected[1:], rel=1e-3, abs=1e-6)
    if warmup != 1:
        assert found[0] == pytest.approx(expected[0])


@pytest.mark.train
def test_the_librarys_curve_is_its_schedulers() -> None:
    import torch
    from transformers import get_scheduler

    settings = {"min_lr": 0.05}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = get_scheduler(
        "cosine_with_min_lr", optimizer, num_warmup_steps=3, num_training_steps=20, scheduler_specific_kwargs=settings
    )
    at = library_curve("cosine_with_min_lr", settings, peak=0.5, warmup=3, total=20)
    for step in range(20):
        assert scheduler.get_last_lr()[0] == pytest.approx(0.5 * at(step))
        optimizer.step()
        scheduler.step()
