"""Credentials that were renewed while the run goes on: looked for again when a store turns those in use away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Requests of other threads may still be on their way, signed with the old ones.
_MOMENT_S = 30.0


class Renewal:
    """`replace()` puts newer credentials in the place of those in use and says whether there were any."""

    def __init__(self, replace: Callable[[], bool], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._replace = replace
        self._clock = clock
        self._renewed_at: float | None = None
        self._lock = threading.Lock()

    def found(self) -> bool:
        """Whether a request that was turned away is worth making again: there are other credentials now, or have been for a moment only."""
        with self._lock:
            if self._replace():
                self._renewed_at = self._clock()
                return True
            return self._renewed_at is not None and self._clock() - self._renewed_at < _MOMENT_S
