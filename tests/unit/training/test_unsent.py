"""The end of a run waits for what is being sent as long as it moves, and not much longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.training import unsent
from runtime.training.unsent import wait_sent


class Line:
    """An uploader on a line of 10 bytes a second, that stops after `reach` bytes of `total`; its clock is ours."""

    def __init__(self, total: int, reach: int) -> None:
        self.now, self.total, self.reach = 0.0, total, reach
        self.moved_bytes = 0
        self.gives_up = False

    def flush(self, timeout_s: float) -> bool:
        left = max(0.0, (self.total - self.moved_bytes) / 10)
        self.now += min(timeout_s, left) if self.reach >= self.total else timeout_s
        self.moved_bytes = min(self.reach, int(self.now * 10))
        return self.moved_bytes >= self.total

    @property
    def protected(self) -> frozenset[Path]:
        return frozenset() if self.gives_up else frozenset({Path("final")})


def wait(monkeypatch: pytest.MonkeyPatch, line: Any, *, while_moving: bool) -> tuple[bool, list[str]]:
    lines: list[str] = []
    monkeypatch.setattr(unsent, "_bytes_unsent", lambda _uploader: line.total)
    return wait_sent(line, patience_s=20, say=lines.append, while_moving=while_moving, every_s=10, clock=lambda: line.now), lines


def test_what_moves_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(1000, 1000)
    sent, lines = wait(monkeypatch, line, while_moving=True)
    assert sent
    assert line.now == 100
    assert len(lines) == 9
    assert lines[0] == "sending: 0.0 of 0.0 GB, 0 MB/s, about 90 s left"


def test_what_stands_still_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(1000, 300)
    assert not wait(monkeypatch, line, while_moving=True)[0]
    assert line.now == 50


def test_a_hard_end_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(1000, 1000)
    assert not wait(monkeypatch, line, while_moving=False)[0]
    assert line.now == 20


def test_who_gives_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(1000, 300)
    line.gives_up = True
    assert not wait(monkeypatch, line, while_moving=True)[0]
    assert line.now == 10


def test_sending_the_same_again_and_again_is_getting_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line(1000, 10**9)
    line.flush = lambda timeout_s: bool(vars(line).update(now=line.now + timeout_s, moved_bytes=int(line.now * 100)))  # type: ignore[method-assign]
    assert not wait(monkeypatch, line, while_moving=True)[0]
    assert line.now <= 3 * 1000 / 100 + 10 + 20
