"""When a run evaluates and saves, as its recipe says: every so many steps, or by the clock. Both halves reckon with these rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

# Saving more often than once a minute gains less than a restart costs; half an hour is as much as anyone wants to do again.
SHORTEST_S = 60.0
LONGEST_S = 1800.0
# For machines nothing is known about: the middle of public spot traces, which go from 0.7 to 24 hours (skypilot-org/spot-traces; Bamboo, 2021-23).
DEFAULT_PREEMPTION_H = 4.0
VARIABLE = "LAUNCHER_PREEMPTION_H"
"""Mean hours between preemptions of the machine a run was given, from the launcher to its training process."""


def steps_between(every: float | None, per_epoch: int | None, strategy: str | None, *, total: int, steps_per_epoch: int) -> int:
    """Optimizer steps between two evaluations or saves of a run of `total`, 0 for none on a beat.

    `every` below 1 is a share of all steps; `per_epoch` counts them in an epoch; without either there is one an epoch.
    """
    if strategy == "no" or per_epoch == 0:
        return 0
    if strategy == "epoch":
        return steps_per_epoch
    if every:
        return max(1, math.ceil(every * total)) if every < 1 else int(every)
    return max(1, steps_per_epoch // per_epoch) if per_epoch else steps_per_epoch


def save_interval_s(save_s: float, preemption_h: float, *, send_s: float = 0.0) -> float:
    """Seconds of training between two saves: sqrt(2 C M), within sensible bounds.

    J. W. Young, "A first order approximation to the optimum checkpoint interval", 1974. `save_s` (C) is how long a save holds training up,
    `preemption_h` (M) the mean hours between two preemptions. At least SHORTEST_S, at most LONGEST_S and half of M, where the formula stops to
    hold. `send_s` is how long an upload takes: a checkpoint made before the last one has left is made in vain, so it is a lower bound over all.
    Raises ValueError unless `preemption_h` is positive and the times are not negative.
    """
    if not (preemption_h > 0 and save_s >= 0 and send_s >= 0):
        raise ValueError(f"no interval for saves of {save_s} s sent in {send_s} s and {preemption_h} h between preemptions")
    mean_s = preemption_h * 3600
    best = math.sqrt(2 * save_s * mean_s)
    return max(min(max(best, SHORTEST_S), LONGEST_S, mean_s / 2), send_s)


def first_save_s(preemption_h: float) -> float:
    """Seconds until a run saved by the clock saves first: soon, to see that saving works and what it costs."""
    return min(SHORTEST_S, preemption_h * 1800)


def preemption_hours(config: TrainingConfig, environment: Mapping[str, str]) -> float | None:
    """Mean hours between preemptions to save against; None where the recipe says when to save, or a run has neither a store nor the risk.

    The recipe's own figure wins over the one the launcher gives with the machine.
    """
    if not leaves_saves_open(config):
        return None
    given = config.launch.preemption_h or _positive(environment.get(VARIABLE))
    return given or (DEFAULT_PREEMPTION_H if config.launch.spot or config.launch.storage else None)


def leaves_saves_open(config: TrainingConfig) -> bool:
    """Whether the recipe says nothing about when to save."""
    return config.save_steps is None and config.saves_per_epoch is None and config.save_strategy is None


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None
