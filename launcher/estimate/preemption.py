"""How often a spot machine is taken away: a stated prior by cloud and size, and what a user's own runs have seen."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from launcher.estimate.range import Range

_TABLE = Path(__file__).parents[1] / "data" / "preemption.csv"

# A run on several machines stops when any one of them goes. Public traces lose machines in groups, so the time to the first loss falls more slowly
# than with 1/n: to about half for a group, whatever its size (spot-traces, Bamboo).
_GROUP = 0.5

# The prior weighs as much as one preemption seen: enough to survive a lucky first day, little enough to be overruled within a week.
_PRIOR_PREEMPTIONS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What own runs met on machines of this cloud and size: hours up, and preemptions in them."""

    hours: float = 0.0
    preemptions: int = 0


def hours_between_preemptions(cloud: str, gpus: int, *, nodes: int = 1, seen: Seen | None = None, told_h: float | None = None) -> Range:
    """Mean hours between preemptions of the whole run on `nodes` machines of `gpus` GPUs each: the prior, corrected by what was `seen`.

    What the user has `told_h` comes before both; it is taken to be within a factor of two. Sources stand in the table's rows. The figures of public traces are older than today's GPUs: the range is meant to be wide.
    """
    if told_h is not None:
        return Range(value=told_h, low=told_h / 2, high=told_h * 2, basis="launch.preemption_h")
    prior = _prior(cloud, gpus)
    group = _GROUP if nodes > 1 else 1.0
    if seen is None or seen.hours <= 0:
        return Range(value=prior.value * group, low=prior.low * group, high=prior.high * group, basis=f"prior: {prior.basis}")
    # Gamma prior on the rate: the posterior mean is hours over preemptions, each with the prior's share added.
    events = _PRIOR_PREEMPTIONS + seen.preemptions
    mean = (prior.value * group * _PRIOR_PREEMPTIONS + seen.hours) / events
    spread = math.exp(1.28 / math.sqrt(events))  # a tenth of the mass on either side of a log-normal with that many events
    prior_spread = min(prior.value / prior.low, prior.high / prior.value)
    spread = min(spread, prior_spread)
    return Range(
        value=mean,
        low=mean / spread,
        high=mean * spread,
        basis=f"{seen.preemptions} preemptions in {seen.hours:.0f} h of own runs, and the prior",
    )


def _prior(cloud: str, gpus: int) -> Range:
    rows = [row for row in _rows() if row[0] == cloud.lower()] or [row for row in _rows() if row[0] == "*"]
    # The row of the smallest machine that is at least as large; beyond the largest, that one.
    fitting = [row for row in rows if row[1] >= gpus]
    return (min if fitting else max)(fitting or rows, key=lambda row: row[1])[2]


@cache
def _rows() -> tuple[tuple[str, int, Range], ...]:
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        return tuple(
            (
                row["cloud"],
                int(row["gpus"]),
                Range(value=float(row["mtbp_h"]), low=float(row["low_h"]), high=float(row["high_h"]), basis=row["source"]),
            )
            for row in csv.DictReader(stream)
        )
