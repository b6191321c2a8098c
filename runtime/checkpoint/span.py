"""A span of an object on its way into a file."""

from __future__ import annotations

import os
from collections.abc import Callable

from runtime.checkpoint.checksum import CHUNK_BYTES, LEAF_BYTES, Hasher
from runtime.checkpoint.transit import Arrived

Write = Callable[[int, bytes | memoryview], None]
"""Takes a piece, whose memory is the next one's, and where in the object it belongs."""


def span_bytes(size: int, least: int, most: int) -> int:
    """How much of an object of `size` bytes one request asks for: `least`, of large ones up to `most`, whole leaves all of them.

    Each request takes a library some milliseconds of the processor; sixteen are enough to keep all threads at work.
    """
    wanted = -(-size // (16 * LEAF_BYTES)) * LEAF_BYTES
    return min(max(least, wanted), most)


class Span:
    """A part of a file that is written as it arrives, and summed then, while it is in the processor's cache."""

    def __init__(self, descriptor: int, start: int, count: int, arrived: Arrived) -> None:
        self.hasher = Hasher()
        self._arrived = arrived
        self._descriptor, self._start, self._count = descriptor, start, count
        self._in_order = True

    def place(self, get: Callable[[int, int, Write], None]) -> None:
        """Have `get` write the span. Raises what it raises, and OSError."""
        get(self._start, self._count, self._write)
        if not self._in_order:
            self._sum_again()

    def _write(self, offset: int, piece: bytes | memoryview) -> None:
        # Who begins a span again gives the same bytes twice.
        self._in_order = self._in_order and offset == self._start + self.hasher.size
        if self._in_order:
            self.hasher.update(piece)
        left = memoryview(piece)
        while left:
            written = os.pwrite(self._descriptor, left, offset)
            left, offset = left[written:], offset + written
        self._arrived(len(piece))

    def _sum_again(self) -> None:
        self.hasher, buffer = Hasher(), memoryview(bytearray(CHUNK_BYTES))
        while left := self._count - self.hasher.size:
            more = os.preadv(self._descriptor, [buffer[:left]], self._start + self.hasher.size)
            if not more:
                break
            self.hasher.update(buffer[:more])
