"""Objects in parts: several on their way at once, summed in order, with bounded memory."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from runtime.checkpoint.bandwidth import Bandwidth
from runtime.checkpoint.checksum import CHUNK_BYTES, LEAF_BYTES, Digest, Hasher
from runtime.checkpoint.span import Span, Write
from runtime.checkpoint.transit import Arrived

Result = TypeVar("Result")

PART_BYTES = 8 << 20
# Parts that are in memory at once, of all the objects of one store together: 64 MiB, or 128 where parts are sent in the larger size.
SLOTS = 8
# Spans that arrive at once, beside one of each file: more than there are cores only push each other out of their caches, and fewer leave them waiting.
_SPANS = min(SLOTS, max(3, os.cpu_count() or 1))
# S3 allows 10,000 parts and Azure 50,000 blocks an object.
_MOST_PARTS = 9_000


def part_bytes(size: int, least: int = PART_BYTES) -> int:
    """How large the parts of an object of `size` bytes are: `least`, for more than 9,000 of those whole MiB more."""
    return max(least, -(-size // _MOST_PARTS + 1) + 0xFFFFF & ~0xFFFFF) if size > least * _MOST_PARTS else least


class Parts:
    """The threads that move parts, the limit on how many parts are in memory, and the one on how fast they leave."""

    def __init__(self, name: str, bandwidth: Bandwidth) -> None:
        self.bandwidth = bandwidth
        self._pool = ThreadPoolExecutor(SLOTS, thread_name_prefix=name)
        self._spans = ThreadPoolExecutor(_SPANS, thread_name_prefix=f"{name}-span")
        self._slots = threading.BoundedSemaphore(SLOTS)
        self._buffers = _Buffers()

    def send(
        self, source: Path, size: int, put: Callable[[int, memoryview], Result], *, least: int = PART_BYTES
    ) -> tuple[Digest, list[Result]]:
        """What `put(number, content)` returned for each part of `source`, from 0; and the digest of what was read.

        The memory of a content is another part's once `put` has returned. An empty file has one empty part. `size` is about what the file has; it is
        read to its end whatever that is, in parts of at least `least` bytes. Raises what `put` raised, OSError from the disk; nothing is under way any
        more then.
        """
        hasher = Hasher()
        step = part_bytes(size, least)
        under_way: list[Future[Result]] = []
        try:
            with self._buffers.in_use(), source.open("rb", buffering=0) as stream:
                while True:
                    buffer = self._take(step)
                    try:
                        count = _fill(stream.readinto, buffer)
                        if under_way and (not count or any(_failed(future) for future in under_way)):
                            self._give(buffer)
                            break
                        content = memoryview(buffer)[:count]
                        hasher.update(content)
                        future = self._pool.submit(put, len(under_way), content)
                    except BaseException:
                        self._give(buffer)
                        raise
                    future.add_done_callback(lambda _future, buffer=buffer: self._give(buffer))  # type: ignore[misc]
                    under_way.append(future)
                    if count < step:
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

    def place(self, descriptor: int, size: int, step: int, get: Callable[[int, int, Write], None], arrived: Arrived) -> Digest:
        """Writes the `size` bytes of an object into the open file `descriptor`, `step` bytes (whole leaves) at a time and several such spans at once.

        Returns the digest of what was written. `get(offset, count, write)` gives what it fetches to `write(offset, piece)`,
        of which `arrived` is told. Raises what it raised, OSError from the disk; nothing is under way any more then.
        """
        if step % LEAF_BYTES:
            raise ValueError(f"spans of {step:,} bytes are no whole leaves")
        spans = [Span(descriptor, offset, min(step, size - offset), arrived) for offset in range(0, size, step)]
        left = deque(spans)

        def work() -> None:
            try:
                while (span := _first(left)) is not None:
                    span.place(get)
            except BaseException:
                left.clear()
                raise

        helpers = [self._spans.submit(work) for _ in spans[1 : _SPANS + 1]]
        try:
            # Here too, so that no file waits for another one.
            work()
            for helper in helpers:
                if not helper.cancel():
                    helper.result()
        except BaseException:
            left.clear()
            _call_off(helpers)
            raise
        whole = Hasher()
        for span in spans:
            whole.join(span.hasher)
        return whole.digest()

    def _take(self, size: int) -> bytearray:
        self._slots.acquire()
        try:
            return self._buffers.take(size)
        except BaseException:
            self._slots.release()
            raise

    def _give(self, buffer: bytearray) -> None:
        self._buffers.give(buffer)
        self._slots.release()


class _Buffers:
    """Memory for parts, used again as long as somebody sends: to ask the system for each anew costs as much as to send it."""

    def __init__(self) -> None:
        self._spare: list[bytearray] = []
        self._users = 0
        self._lock = threading.Lock()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._spare.clear()

    def take(self, size: int) -> bytearray:
        with self._lock:
            if self._spare and len(self._spare[-1]) == size:
                return self._spare.pop()
        return bytearray(size)

    def give(self, buffer: bytearray) -> None:
        with self._lock:
            if self._users:
                self._spare.append(buffer)


def sum_file(source: Path, also: Callable[[memoryview], None]) -> Digest:
    """Size and checksum of `source`; `also` is given each piece in order. Raises OSError."""
    hasher = Hasher()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with source.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
            also(buffer[:count])
    return hasher.digest()


def _first(spans: deque[Span]) -> Span | None:
    try:
        return spans.popleft()
    except IndexError:
        return None


def _failed(future: Future[Result]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is not None


def _call_off(futures: Sequence[Future[Result]] | deque[Future[Result]]) -> None:
    for future in futures:
        future.cancel()
    with suppress(Exception):
        wait(futures)


def _fill(read_into: Callable[[memoryview], int | None], buffer: bytearray) -> int:
    """How many bytes of `buffer` were read: all, fewer at the end of the file."""
    view, filled = memoryview(buffer), 0
    while filled < len(buffer) and (more := read_into(view[filled:])):
        filled += more
    return filled
