"""How often to save when the recipe does not say: as often as loses least, from the measured time of a save and the risk of losing the machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

# Saving more often than once a minute gains less than a restart costs; half an hour is as much as anyone wants to do again.
SHORTEST_S = 60.0
LONGEST_S = 1800.0
# For machines nothing is known about: the middle of public spot traces, which go from 0.7 to 24 hours (skypilot-org/spot-traces; Bamboo, 2021-23).
DEFAULT_PREEMPTION_H = 4.0
VARIABLE = "LAUNCHER_PREEMPTION_H"
# How much the newest save counts against those before: the first is often slow, and stores and disks change their mood.
_NEWEST = 0.5
# A change smaller than this is not worth a word.
_NOTABLE = 0.1


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


def preemption_hours(config: Any, environment: Mapping[str, str]) -> float | None:
    """Mean hours between preemptions to save against; None where the recipe says when to save, or a run has neither a store nor the risk.

    The recipe's own figure wins over the one the launcher gives with the machine.
    """
    if not _leaves_it_open(config):
        return None
    given = config.launch.preemption_h or _positive(environment.get(VARIABLE))
    return given or (DEFAULT_PREEMPTION_H if config.launch.spot or config.launch.storage else None)


class SaveBeat:
    """When the next save is due. The first comes after SHORTEST_S, to see that saving works and what it costs; each measured one moves the next.

    It decides by the clock, so the main process asks it and tells the others. Nothing that is trained depends on it.
    """

    def __init__(self, *, preemption_h: float, emit: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        self.interval_s = min(SHORTEST_S, preemption_h * 1800)
        self._preemption_h = preemption_h
        self._emit = emit
        self._clock = clock
        self._since = clock()
        self._save_s: float | None = None
        self._told_s: float | None = None

    def begin(self) -> None:
        """Count from now: training begins."""
        self._since = self._clock()

    def due(self) -> bool:
        """Whether to save after this step."""
        return self._clock() - self._since >= self.interval_s

    def saved(self, blocking_s: float, *, send_s: float = 0.0, step: int | None = None) -> None:
        """Count from now, and take in what this save cost and how long the last upload took, seconds."""
        self._since = self._clock()
        before = blocking_s if self._save_s is None else self._save_s
        self._save_s = _NEWEST * blocking_s + (1 - _NEWEST) * before
        self.interval_s = save_interval_s(self._save_s, self._preemption_h, send_s=send_s)
        if self._told_s is None or abs(self.interval_s - self._told_s) > _NOTABLE * self._told_s:
            self._told_s = self.interval_s
            self._emit(
                "save_interval", step, seconds=round(self.interval_s, 1), save_s=round(self._save_s, 4), mtbp_h=round(self._preemption_h, 3)
            )


def _leaves_it_open(config: Any) -> bool:
    return config.save_steps is None and config.saves_per_epoch is None and config.save_strategy is None


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None
