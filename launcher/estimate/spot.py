"""A run on machines that may be taken away: how often to save, and what time and money to expect."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache

from launcher.estimate.range import Range

DRAWS = 600
"""Simulated runs behind the 90 % figures."""

LONGEST = 50.0
"""A run that would take so many times its own length never ends for its owner: figures stop there."""

_MOST_LIVES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRun:
    """A run on spot machines. Hours: `billed` is what is paid for, `wall` also counts waiting for a machine; `high` is the 90 % figure of each.

    `interval_h` is the training time between two saves, `preemptions` the number to expect.
    """

    interval_h: float
    billed_h: Range
    wall_h: Range
    preemptions: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruptions:
    """What a preemption does: `mtbp_h` mean hours between two, `restart_h` billed hours until training goes on, `wait_h` unbilled hours without a machine."""

    mtbp_h: Range
    restart_h: float
    wait_h: float


def expected_billed_h(work_h: float, *, interval_h: float, save_h: float, mtbp_h: float, restart_h: float) -> float:
    """Expected machine hours of `work_h` hours of training, the first start included.

    J. T. Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", 2006, for exponentially distributed preemptions that may
    also strike while the run restarts: R + W/T · e^(R/M) · M · (e^((T+C)/M) − 1).
    """
    if work_h <= 0:
        return restart_h
    interval = min(interval_h, work_h)
    exponent = min((interval + save_h) / mtbp_h, 700.0)
    return restart_h + work_h / interval * math.exp(min(restart_h / mtbp_h, 700.0)) * mtbp_h * math.expm1(exponent)


# The regions of one cloud sell the same machine at other prices: the same run.
@lru_cache(maxsize=1024)
def on_spot(work_h: float, interruptions: Interruptions, *, save_h: float, interval_h: float, seed: int = 0) -> SpotRun:
    """The run of `work_h` hours of training (without set-up and saves) under `interruptions`, saved every `interval_h` hours of it.

    The expected figures are Daly's formula at the middle of the prior; the ends are the 10 % and 90 % points of simulated runs whose mean time between
    preemptions is drawn from the whole prior. The same `seed` gives the same figures.
    """
    mtbp = interruptions.mtbp_h
    interval = max(min(interval_h, work_h), 1e-3)
    billed = expected_billed_h(work_h, interval_h=interval, save_h=save_h, mtbp_h=mtbp.value, restart_h=interruptions.restart_h)
    billed = min(billed, work_h * LONGEST + interruptions.restart_h)
    preemptions = billed / mtbp.value
    random_source = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    simulated = sorted(
        simulate_billed_h(
            work_h,
            interval_h=interval,
            save_h=save_h,
            mtbp_h=_drawn(mtbp, random_source),
            restart_h=interruptions.restart_h,
            random_source=random_source,
        )
        for _ in range(DRAWS)
    )
    low, high = simulated[DRAWS // 10], simulated[DRAWS * 9 // 10]
    basis = f"1 preemption in {mtbp.value:.1f} h ({mtbp.low:.1f} to {mtbp.high:.1f}), saves every {interval * 60:.0f} min"
    billed_range = Range(value=billed, low=min(low, billed), high=max(high, billed), basis=basis)

    def wall(hours: float) -> float:
        return hours + hours / mtbp.value * interruptions.wait_h

    wall_range = Range(value=wall(billed), low=billed_range.low, high=wall(billed_range.high), basis=basis)
    return SpotRun(interval_h=interval, billed_h=billed_range, wall_h=wall_range, preemptions=preemptions)


def simulate_billed_h(
    work_h: float, *, interval_h: float, save_h: float, mtbp_h: float, restart_h: float, random_source: random.Random
) -> float:
    """Machine hours of one simulated run: lives of exponential length, each restarting from the last save of the one before."""
    done = billed = 0.0
    segment = interval_h + save_h
    limit = work_h * LONGEST + restart_h
    for _ in range(_MOST_LIVES):
        if billed >= limit:
            break
        life = random_source.expovariate(1 / mtbp_h)
        training = life - restart_h
        left = work_h - done
        # The last piece ends with a save as well.
        needed = left + math.ceil(left / interval_h - 1e-9) * save_h
        if training >= needed:
            return billed + restart_h + needed
        billed += life
        if training > 0:
            done += math.floor(training / segment) * interval_h
    return limit


def spot_wins(billed_h: float, work_h: float, *, spot_usd_per_h: float, usd_per_h: float) -> bool:
    """Whether spot is expected to cost less than the same machine on demand, where the run takes `work_h` hours, set-up included."""
    return billed_h * spot_usd_per_h < work_h * usd_per_h


def _drawn(mtbp: Range, random_source: random.Random) -> float:
    """A mean time between preemptions from the prior: its logarithm triangular over the range, densest at the middle."""
    return math.exp(random_source.triangular(math.log(mtbp.low), math.log(mtbp.high), math.log(mtbp.value)))
