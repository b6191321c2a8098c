"""Objects in parts: several on their way at once, summed and written in order, with bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from runtime.checkpoint.bandwidth import Bandwidth
from runtime.checkpoint.checksum import CHUNK_BYTES, Digest, Hasher

Result = TypeVar("Result")

PART_BYTES = 8 << 20
# Parts that are in memory at once, of all the objects of one store together: 64 MiB, about twice that while a body is put together.
SLOTS = 8
# S3 allows 10,000 parts and Azure 50,000 blocks an object.
_MOST_PARTS = 9_000


def part_bytes(size: int) -> int:
    """How large the parts of an object of `size` bytes are: 8 MiB, above 72 GB whole MiB more."""
    return max(PART_BYTES, -(-size // _MOST_PARTS + 1) + 0xFFFFF & ~0xFFFFF) if size > PART_BYTES * _MOST_PARTS else PART_BYTES


class Parts:
    """The threads that move parts, the limit on how many parts are in memory, and the one on how fast they leave."""

    def __init__(self, name: str, bandwidth: Bandwidth) -> None:
        self.bandwidth = bandwidth
        self._pool = ThreadPoolExecutor(SLOTS, thread_name_prefix=name)
        self._slots = threading.BoundedSemaphore(SLOTS)

    def send(
        self, source: Path, size: int, put: Callable[[int, bytes], Result], also: Callable[[bytes], None]
    ) -> tuple[Digest, list[Result]]:
        """What `put(number, content)` returned for each part of `source`, from 0; and the digest of what was read.

        `also` is given each part in order. An empty file has one empty part. `size` is about what the file has; it is read to its end whatever that is.
        Raises what `put` raised, OSError from the disk; nothing is under way any more then.
        """
        hasher = Hasher()
        step = part_bytes(size)
        under_way: list[Future[Result]] = []
        try:
            with source.open("rb", buffering=0) as stream:
                while True:
                    self._slots.acquire()
                    try:
                        content = _read_exactly(stream.readinto, step)
                        if under_way and (not content or any(_failed(future) for future in under_way)):
                            self._slots.release()
                            break
                        hasher.update(content)
                        also(content)
                        future = self._pool.submit(put, len(under_way), content)
                    except BaseException:
                        self._slots.release()
                        raise
                    future.add_done_callback(lambda _future: self._slots.release())
                    under_way.append(future)
                    if len(content) < step:
                        break
            return hasher.digest(), [future.result() for future in under_way]
        except BaseException:
            _call_off(under_way)
            raise

    def fetch(self, size: int, get: Callable[[int, int], bytes]) -> Generator[bytes, None, None]:
        """The `size` bytes of an object, part after part in order; `get(offset, count)` fetches one. Raises what it raised."""
        step = part_bytes(size)
        offsets = deque(range(0, size, step))
        under_way: deque[Future[bytes]] = deque()
        try:
            while offsets or under_way:
                # Waits for a slot only while holding none, so that several objects can never wait for each other.
                while offsets and len(under_way) < SLOTS and self._slots.acquire(blocking=not under_way):
                    offset = offsets.popleft()
                    under_way.append(self._pool.submit(get, offset, min(step, size - offset)))
                try:
                    content = under_way[0].result()
                    yield content
                finally:
                    del under_way[0]
                    self._slots.release()
        finally:
            _call_off(under_way)
            for _ in under_way:
                self._slots.release()


def sum_file(source: Path, also: Callable[[memoryview], None]) -> Digest:
    """Size and checksum of `source`; `also` is given each piece in order. Raises OSError."""
    hasher = Hasher()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with source.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
            also(buffer[:count])
    return hasher.digest()


def _failed(future: Future[Result]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is not None


def _call_off(futures: list[Future[Result]] | deque[Future[Result]]) -> None:
    for future in futures:
        future.cancel()
    with suppress(Exception):
        wait(futures)


def _read_exactly(read_into: Callable[[memoryview], int | None], count: int) -> bytes:
    """`count` bytes, fewer at the end of the file."""
    buffer = memoryview(bytearray(count))
    filled = 0
    while filled < count and (more := read_into(buffer[filled:])):
        filled += more
    return bytes(buffer[:filled])
