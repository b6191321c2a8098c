"""The event log of a run: one JSON object a line, appended by whoever does the work, read by whoever wants to know."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

Event = dict[str, Any]
TAIL = "events-tail.jsonl"
"""In a checkpoint: the last events before it, for when the machine is lost before its log has reached anybody."""
_TAIL_BYTES = 256 << 10
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Lines that wait for a full disk: hours of a training, some megabytes of memory.
_WAITING = 20_000


class OnEvent(Protocol):
    """Told what happened; shaped as `EventLog.append`. It may be called from another thread than the one that waits for the work."""

    def __call__(self, kind: str, step: int | None = None, **fields: object) -> object:
        """One event of `kind` at optimizer step `step`."""
        ...


class EventLog:
    """Appends events to `path`. One write call a line, so that two processes of one machine may share the file.

    A kill can leave half a line at the end of the file; opening the log ends that line, and readers skip what does not parse. What a full disk does not take
    is written when it does. `listeners` are told of each event then and there.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock
        self.listeners: list[Callable[[Event], None]] = []
        self._waiting: deque[bytes] = deque(maxlen=_WAITING)
        self._writing = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        _end_torn_line(path)

    def append(self, kind: str, step: int | None = None, **fields: Any) -> Event:
        """Write one event of `kind` at optimizer step `step` and return it; `fields` must be JSON values. Raises OSError, though not for a full disk."""
        event: Event = {"time": round(self._clock(), 3), "step": step, "kind": kind, **fields}
        line = json.dumps(event, ensure_ascii=False, allow_nan=True, separators=(",", ":")) + "\n"
        with self._writing:
            self._waiting.append(line.encode())
            self._write_waiting()
        for listener in self.listeners:
            listener(event)
        return event

    def _write_waiting(self) -> None:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                while self._waiting:
                    line = self._waiting[0]
                    if os.write(descriptor, line) < len(line):
                        # The half that fitted is ended like any torn line, and the whole comes after it.
                        self._waiting[0] = b"\n" + line.lstrip(b"\n")
                        continue
                    self._waiting.popleft()
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in _FULL:
                self._waiting.pop()
                raise

    def keep_tail(self, folder: Path) -> None:
        """Write the last whole events, at most 256 KiB of them, into the checkpoint `folder`. Raises OSError."""
        content = b""
        if self.path.exists():
            with self.path.open("rb") as stream:
                start = max(0, stream.seek(0, os.SEEK_END) - _TAIL_BYTES)
                stream.seek(start)
                content = stream.read()
            # The first line is whole only where the reading began with the file.
            content = content[content.find(b"\n") + 1 if start else 0 : content.rfind(b"\n") + 1]
        (folder / TAIL).write_bytes(content)


def read_events(path: Path) -> Iterator[Event]:
    """Every whole event in the order written; nothing when the file is missing."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "kind" in event:
                yield event


def latest_per_step(events: Iterable[Event], kind: str) -> list[Event]:
    """The last event of `kind` for each step, by step: after a resume, repeated steps count once."""
    newest: dict[int, Event] = {}
    for event in events:
        if event["kind"] == kind and isinstance(event.get("step"), int):
            newest[event["step"]] = event
    return [newest[step] for step in sorted(newest)]


def _end_torn_line(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read(1) != b"\n":
            stream.write(b"\n")
