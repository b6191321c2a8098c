"""The limit on what is sent, by a clock of the test's own."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.checkpoint.bandwidth import Limited, Unlimited, bandwidth
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.parts import PART_BYTES, Parts


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


def limited(bytes_per_s: float) -> tuple[Limited, Clock]:
    clock = Clock()
    return Limited(bytes_per_s, clock=clock, sleep=clock.sleep), clock


@given(st.lists(st.tuples(st.integers(0, 1 << 24), st.floats(0, 30)), min_size=1, max_size=20), st.floats(1e3, 1e9))
def test_no_span_of_time_sees_more_than_its_share_and_one_piece(pieces: list[tuple[int, float]], bytes_per_s: float) -> None:
    limit, clock = limited(bytes_per_s)
    left: list[tuple[float, int]] = []
    for count, pause_s in pieces:
        limit.take(count)
        left.append((clock.now, count))
        clock.sleep(pause_s)
    for first, (since, _) in enumerate(left):
        for last in range(first, len(left)):
            span, sent = left[last][0] - since, sum(count for _, count in left[first : last + 1])
            assert sent <= bytes_per_s * span + max(count for _, count in left[first : last + 1]) + 1e-6 * bytes_per_s + 1


def test_time_is_not_lost_either() -> None:
    limit, clock = limited(1e6)
    for _ in range(10):
        limit.take(500_000)
    assert clock.now == pytest.approx(105.0)


def test_all_threads_share_one_limit(tmp_path: Path) -> None:
    limit, clock = limited(4 * PART_BYTES)
    source = tmp_path / "source"
    source.write_bytes(bytes(2 * PART_BYTES))
    parts = Parts("test", limit)

    def put(_number: int, content: bytes) -> None:
        parts.bandwidth.take(len(content))

    threads = [threading.Thread(target=lambda: parts.send(source, 2 * PART_BYTES, put)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 8 parts at 4 a second. Threads that sleep at the same time move this clock more than once.
    assert clock.now >= 102.0


def test_a_folder_is_written_no_faster(tmp_path: Path) -> None:
    limit, clock = limited(1e6)
    (tmp_path / "source").write_bytes(bytes(3_000_000))
    open_store(str(tmp_path / "store"), bandwidth=limit).put_file("run/a", tmp_path / "source")
    assert clock.now == pytest.approx(103.0)


def test_the_option_is_in_megabytes() -> None:
    assert isinstance(bandwidth(None), Unlimited)
    limit = bandwidth(2.5)
    assert isinstance(limit, Limited)
    assert limit._bytes_per_s == 2.5e6
    with pytest.raises(ValueError, match="positive"):
        Limited(0)
