"""A window of steps that something is recorded in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runtime.training.profiling import Window

pytestmark = pytest.mark.train


def recorded(first: int, count: int, *, start: int, last: int) -> list[str]:
    """What a run from after step `start` to step `last` records."""
    log: list[str] = []
    window = Window(first, count, lambda: log.append("begin"), lambda a, b: log.append(f"{a}-{b}"))
    for step in range(start, last):
        window.on_step_begin(None, SimpleNamespace(global_step=step), None)
        window.on_step_end(None, SimpleNamespace(global_step=step + 1), None)
    window.on_train_end(None, SimpleNamespace(global_step=last), None)
    return log


@pytest.mark.parametrize(
    ("first", "count", "start", "last", "expected"),
    [
        (0, 2, 0, 9, ["begin", "1-2"]),
        (5, 3, 0, 9, ["begin", "6-8"]),
        (7, 5, 0, 9, ["begin", "8-9"]),
        (9, 1, 0, 9, []),
        (5, 3, 6, 9, []),
        (5, 3, 5, 9, ["begin", "6-8"]),
    ],
)
def test_a_window_covers_its_steps_or_what_there_is_of_them(first: int, count: int, start: int, last: int, expected: list[str]) -> None:
    assert recorded(first, count, start=start, last=last) == expected
