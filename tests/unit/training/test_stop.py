"""Requests to stop: noted while training, answered at once otherwise, and final the second time."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from runtime.training.stop import Notice, StopNow, StopRequest, most_urgent, read_notice


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_outside_training_a_signal_ends_the_work_at_once() -> None:
    stop = StopRequest()
    with pytest.raises(StopNow):
        stop.on_signal(signal.SIGTERM, None)
    assert stop.requested


def test_inside_training_it_is_noted() -> None:
    stop = StopRequest()
    stop.deferred = True
    stop.on_signal(signal.SIGINT, None)
    assert stop.requested


def test_the_second_request_leaves_but_an_echo_of_the_first_does_not() -> None:
    clock, left = Clock(), list[int]()
    stop = StopRequest(clock=clock, leave=left.append)
    stop.deferred = True
    stop.on_signal(signal.SIGTERM, None)
    clock.now += 0.5
    stop.on_signal(signal.SIGTERM, None)
    assert left == []
    clock.now += 5
    stop.on_signal(signal.SIGINT, None)
    assert left == [6]


def test_a_notice_has_a_deadline_from_when_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "notice.json"
    file.write_text(json.dumps({"kind": "preempt", "deadline_s": 30, "time": 1000.0, "reason": "spot"}))
    notice = StopRequest().why(file)
    assert notice == Notice(kind="preempt", deadline_at=1030.0, reason="spot")
    assert notice.left_s(1010.0) == 20.0


@pytest.mark.parametrize("content", [None, "", "[]", '{"deadline_s": "soon"}'])
def test_without_a_readable_notice_it_is_a_plain_stop(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "notice.json"
    if content is not None:
        file.write_text(content)
    assert read_notice(file) is None
    assert StopRequest().why(file) == Notice(kind="stop")


def test_a_reason_given_with_the_request_wins(tmp_path: Path) -> None:
    stop = StopRequest()
    stop.ask(Notice(kind="preempt", reason="chaos"))
    assert stop.requested
    assert stop.why(tmp_path / "notice.json").reason == "chaos"


def test_of_several_reasons_the_one_that_leaves_least_time_counts() -> None:
    plain, asked = Notice(kind="stop"), Notice(kind="preempt", reason="asked")
    early, late = Notice(kind="preempt", deadline_at=5.0), Notice(kind="stop", deadline_at=9.0)
    assert most_urgent([plain, late, early, asked]) == early
    assert most_urgent([plain, late]) == late
    assert most_urgent([plain, asked]) == asked
    assert most_urgent([plain]) == plain
