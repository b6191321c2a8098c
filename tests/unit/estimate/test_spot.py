"""The time of runs that are preempted: formulas against simulation, and the sense of every figure."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.estimate.preemption import Seen, hours_between_preemptions
from launcher.estimate.range import Range, exactly
from launcher.estimate.spot import Interruptions, expected_billed_h, on_spot, simulate_billed_h, spot_wins
from runtime.config.beat import save_interval_s

MINUTE = 1 / 60


def save_interval_h(*, save_h: float, mtbp_h: float) -> float:
    return save_interval_s(save_h * 3600, mtbp_h) / 3600


@pytest.mark.parametrize("mtbp_h", [0.8, 2.3, 10.0])
@pytest.mark.parametrize("save_min", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("restart_min", [2.0, 10.0])
def test_the_formula_agrees_with_simulated_runs(mtbp_h: float, save_min: float, restart_min: float) -> None:
    save, restart = save_min * MINUTE, restart_min * MINUTE
    interval = save_interval_h(save_h=save, mtbp_h=mtbp_h)
    work = interval * 20
    source = random.Random(7)
    runs = [
        simulate_billed_h(work, interval_h=interval, save_h=save, mtbp_h=mtbp_h, restart_h=restart, random_source=source)
        for _ in range(800)
    ]
    formula = expected_billed_h(work, interval_h=interval, save_h=save, mtbp_h=mtbp_h, restart_h=restart)
    assert statistics.mean(runs) == pytest.approx(formula, rel=0.05)


@pytest.mark.parametrize(("mtbp_h", "save_min"), [(1.0, 0.5), (2.3, 1.0), (10.0, 2.0)])
def test_no_other_interval_is_much_better_than_the_chosen_one(mtbp_h: float, save_min: float) -> None:
    def cost(interval: float) -> float:
        return expected_billed_h(10, interval_h=interval, save_h=save_min * MINUTE, mtbp_h=mtbp_h, restart_h=10 * MINUTE)

    chosen = save_interval_h(save_h=save_min * MINUTE, mtbp_h=mtbp_h)
    assert cost(chosen) <= 1.02 * min(cost(chosen * factor) for factor in (0.25, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 4))


def test_the_example_of_ten_hours() -> None:
    # One preemption in 2.3 h, saves of a minute, restarts of ten: 17 minutes between saves, 1.23 billed hours for each of training.
    interval = save_interval_h(save_h=MINUTE, mtbp_h=2.3)
    assert interval * 60 == pytest.approx(16.6, abs=0.1)
    billed = expected_billed_h(10, interval_h=interval, save_h=MINUTE, mtbp_h=2.3, restart_h=10 * MINUTE)
    assert billed / 10 == pytest.approx(1.23, abs=0.02)


def test_without_preemptions_only_saves_and_the_start_are_added() -> None:
    billed = expected_billed_h(5, interval_h=0.5, save_h=0.01, mtbp_h=1e9, restart_h=0.2)
    assert billed == pytest.approx(5 + 10 * 0.01 + 0.2)


@settings(max_examples=25, deadline=None)
@given(work=st.floats(0.05, 100), mtbp=st.floats(0.3, 50), save=st.floats(0.0005, 0.1), restart=st.floats(0.01, 0.5))
def test_figures_are_ordered_and_more_preemptions_never_help(work: float, mtbp: float, save: float, restart: float) -> None:
    mtbp_h = Range(value=mtbp, low=mtbp / 3, high=mtbp * 3)
    run = on_spot(
        work, Interruptions(mtbp_h=mtbp_h, restart_h=restart, wait_h=0.1), save_h=save, interval_h=save_interval_h(save_h=save, mtbp_h=mtbp)
    )
    assert work <= run.billed_h.low <= run.billed_h.value <= run.billed_h.high or run.billed_h.low == run.billed_h.value
    assert run.billed_h.value <= run.wall_h.value
    assert run.interval_h <= max(mtbp / 2, 1e-3)
    rarer = on_spot(work, Interruptions(mtbp_h=exactly(mtbp * 2), restart_h=restart, wait_h=0.1), save_h=save, interval_h=run.interval_h)
    assert rarer.billed_h.value <= run.billed_h.value


def test_the_same_seed_gives_the_same_figures() -> None:
    interruptions = Interruptions(mtbp_h=Range(value=2, low=0.5, high=8), restart_h=0.2, wait_h=0.1)
    assert on_spot(8, interruptions, save_h=0.01, interval_h=0.3) == on_spot(8, interruptions, save_h=0.01, interval_h=0.3)


def test_a_run_that_cannot_end_on_spot_says_so_with_a_large_figure() -> None:
    hopeless = on_spot(10, Interruptions(mtbp_h=exactly(0.1), restart_h=0.5, wait_h=0), save_h=0.02, interval_h=0.05)
    assert math.isfinite(hopeless.billed_h.high)
    assert not spot_wins(hopeless.billed_h.value, 10, spot_usd_per_h=0.3, usd_per_h=1.0)


def test_spot_wins_by_its_price_and_loses_when_it_is_interrupted_too_often() -> None:
    assert spot_wins(12.3, 10, spot_usd_per_h=0.42, usd_per_h=1.0)
    assert not spot_wins(12.3, 10, spot_usd_per_h=0.95, usd_per_h=1.0)


def test_the_prior_depends_on_the_cloud_and_the_size() -> None:
    small, large = hours_between_preemptions("aws", 1), hours_between_preemptions("aws", 8)
    assert small.value > large.value
    assert hours_between_preemptions("aws", 8, nodes=2).value == large.value / 2
    assert hours_between_preemptions("nowhere", 8).low < hours_between_preemptions("nowhere", 8).value
    assert hours_between_preemptions("aws", 16) == large
    assert "prior" in small.basis


def test_own_runs_overrule_the_prior() -> None:
    calm = hours_between_preemptions("aws", 8, seen=Seen(hours=200, preemptions=9))
    assert calm.value == pytest.approx(20, rel=0.05)
    assert "9 preemptions" in calm.basis
    lucky = hours_between_preemptions("aws", 8, seen=Seen(hours=3, preemptions=0))
    assert lucky.value == pytest.approx(4)
    assert calm.high / calm.low < lucky.high / lucky.low


def test_what_the_user_knows_comes_before_prior_and_own_runs() -> None:
    told = hours_between_preemptions("aws", 8, nodes=2, seen=Seen(hours=200, preemptions=9), told_h=30)
    assert (told.value, told.basis) == (30, "launch.preemption_h")
