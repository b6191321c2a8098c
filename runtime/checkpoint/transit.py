"""How far what moves between this machine and a store has come, for whoever waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runtime.checkpoint.bandwidth import Bandwidth

Arrived = Callable[[int], None]
"""Takes the size of each piece, in whatever thread moves it."""
# Between two lines about the same transfer, seconds: shorter ones need none.
EVERY_S = 10.0


def nobody(count: int) -> None:
    """An Arrived for who does not ask."""


class Transit:
    """Bytes that have moved, of those that are known of; several threads add to it."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self.moved_bytes = 0
        self._lock = threading.Lock()

    def expect(self, count: int) -> None:
        """There are `count` bytes more to move."""
        with self._lock:
            self.total_bytes += count

    def add(self, count: int) -> None:
        """`count` bytes have moved; fewer than 0 for what is begun again."""
        with self._lock:
            self.moved_bytes += count

    def share(self, size: int) -> Share:
        """The part of this that one file of `size` bytes has."""
        return Share(self, size)

    def sentence(self, seconds: float) -> str:
        """`3.2 of 14.0 GB, 450 MB/s, about 24 s left`, after `seconds` of moving."""
        return sentence(self.moved_bytes, self.total_bytes, seconds)


class Share:
    """One file's part of a Transit, which may be begun again."""

    def __init__(self, whole: Transit, size: int) -> None:
        self._whole, self._size = whole, size
        self._moved = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """As Arrived; more than the file has counts as what it has."""
        with self._lock:
            self._set(min(self._size, self._moved + count))

    def begin(self) -> None:
        """Nothing of the file is there (any more)."""
        with self._lock:
            self._set(0)

    def end(self) -> None:
        """All of the file is there."""
        with self._lock:
            self._set(self._size)

    def _set(self, moved: int) -> None:
        self._whole.add(moved - self._moved)
        self._moved = moved


class Counted:
    """A Bandwidth that adds what leaves to a Transit."""

    def __init__(self, limit: Bandwidth, transit: Transit) -> None:
        self._limit, self._transit = limit, transit

    def take(self, count: int) -> None:
        """As Bandwidth.take."""
        self._limit.take(count)
        self._transit.add(count)


def sentence(moved_bytes: int, total_bytes: int, seconds: float) -> str:
    """`3.2 of 14.0 GB, 450 MB/s, about 24 s left`: how far a transfer has come in `seconds`."""
    rate = moved_bytes / seconds if seconds > 0 else 0.0
    left = f", about {_span((total_bytes - moved_bytes) / rate)} left" if rate and moved_bytes < total_bytes else ""
    return f"{moved_bytes / 1e9:,.1f} of {total_bytes / 1e9:,.1f} GB, {rate / 1e6:,.0f} MB/s{left}"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3600:.1f} h"


@contextmanager
def told(say: Callable[[str], None], what: str, *, every_s: float = EVERY_S) -> Iterator[Transit]:
    """A Transit for the block, about which `say` takes a line every `every_s` seconds, from a thread: `WHAT: 3.2 of 14.0 GB, …`."""
    transit, began = Transit(), time.monotonic()

    def tell() -> None:
        if transit.total_bytes:
            say(f"{what}: {transit.sentence(time.monotonic() - began)}")

    with repeated(tell, every_s=every_s):
        yield transit


@contextmanager
def repeated(work: Callable[[], None], *, every_s: float) -> Iterator[None]:
    """Has `work` done every `every_s` seconds while the block runs, from a thread, and no more after it."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every_s):
            work()

    thread = threading.Thread(target=run, name="transit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
