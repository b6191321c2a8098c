"""The event log: whole lines, whatever the disk does."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.events import EventLog, read_events


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """A limit on the size of files fails as a full disk does, in the middle of a line too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 30, 57])
def test_what_a_full_disk_does_not_take_is_written_later(tmp_path: Path, room: int) -> None:
    log = EventLog(tmp_path / "events.jsonl", clock=lambda: 1.0)
    heard: list[int | None] = []
    log.listeners.append(lambda event: heard.append(event["step"]))
    log.append("loss", 1, loss=0.5)
    with files_end_at(log.path.stat().st_size + room):
        for step in (2, 3, 4):
            log.append("loss", step, loss=0.5)
    assert [event["step"] for event in read_events(log.path)] in ([1], [1, 2])
    log.append("loss", 5, loss=0.5)
    assert [event["step"] for event in read_events(log.path)] == heard == [1, 2, 3, 4, 5]


def test_another_failure_is_no_full_disk(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "run" / "events.jsonl")
    (tmp_path / "run").rmdir()
    with pytest.raises(FileNotFoundError):
        log.append("loss", 1)
    (tmp_path / "run").mkdir()
    log.append("loss", 2)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [2]
