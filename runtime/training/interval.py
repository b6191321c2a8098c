"""How often to save when the recipe does not say: as often as loses least, from the measured time of a save and the risk of losing the machine."""

from __future__ import annotations

import time
from collections.abc import Callable

from runtime.config.beat import first_save_s, save_interval_s

# How much the newest save counts against those before: the first is often slow, and stores and disks change their mood.
_NEWEST = 0.5
# A change smaller than this is not worth a word.
_NOTABLE = 0.1


class SaveBeat:
    """When the next save is due. The first comes soon, to see that saving works and what it costs; each measured one moves the next.

    It decides by the clock, so the main process asks it and tells the others. Nothing that is trained depends on it.
    """

    def __init__(self, *, preemption_h: float, emit: Callable[..., None], clock: Callable[[], float] = time.monotonic) -> None:
        self.interval_s = first_save_s(preemption_h)
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
