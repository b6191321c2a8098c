"""How fast this process may send to a store: a token bucket that all its uploading threads share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Bandwidth(Protocol):
    """Asked before bytes leave; returns when they may."""

    def take(self, count: int) -> None:
        """Wait until `count` bytes may be sent."""
        ...


class Unlimited:
    """As fast as the store takes it."""

    def take(self, count: int) -> None:
        """Returns at once."""


class Limited:
    """At most `bytes_per_s` on average.

    In any span of t seconds no more than `bytes_per_s` times t bytes leave, and what is taken at once (8 or 16 MiB, as the store's library sends). Time in which
    nothing was sent is not saved up. Who comes first is served first, so a thread with much to send cannot keep the others out.
    """

    def __init__(
        self, bytes_per_s: float, *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        if not bytes_per_s > 0:
            raise ValueError(f"a bandwidth is positive, not {bytes_per_s}")
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def take(self, count: int) -> None:
        """As Bandwidth.take. Bytes that are sent again, after a failure, are asked for again."""
        with self._lock:
            start = max(self._free_at, self._clock())
            self._free_at = start + count / self._bytes_per_s
            until = self._free_at
        while (left := until - self._clock()) > 0:
            self._sleep(left)


def bandwidth(mb_per_s: float | None) -> Bandwidth:
    """The limit of `launch.upload_mb_per_s`, in 1e6 bytes a second; none when unset."""
    return Unlimited() if mb_per_s is None else Limited(mb_per_s * 1e6)
