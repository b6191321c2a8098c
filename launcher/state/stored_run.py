"""A run as its storage shows it to any computer: its record, what it has used, its events and its log, and the wishes left for it there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from launcher.state.names import is_run_name
from launcher.state.usage import Usage
from runtime.checkpoint.folders import folders_with
from runtime.checkpoint.store import Store, get_bytes
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import UserError
from runtime.events import Event
from runtime.record import RunRecord, bad_record

RECORD, USAGE, STOP, CONFIG, SUBMISSION = "run.json", "usage.json", "stop.json", "config.yml", "submission.json"
EVENTS, LOG = "live/events", "live/log"
INPUTS = "inputs"
PART_BYTES = 256 << 10
"""A growing text is kept in objects of about this size: stores cannot append, and only the newest is written again."""
PATIENCE_S = 600.0
"""So long a store may fail while somebody watches a run in it."""
_SMALL = 4 << 20

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """The small objects of one run in its storage. Methods raise OSError for what may pass and UserError for what the user must mend."""

    place: RunStore

    def record(self) -> RunRecord | None:
        """The run's record, None before it has one."""
        return self._read(RECORD, RunRecord)

    def write_record(self, record: RunRecord) -> None:
        """Replace the record."""
        self._write(RECORD, record)

    def usage(self) -> Usage:
        """What the run has used so far."""
        return self._read(USAGE, Usage) or Usage()

    def write_usage(self, usage: Usage) -> None:
        """Replace it."""
        self._write(USAGE, usage)

    def ask_stop(self, *, submission: str, now: float, reason: str = "stopped on request") -> None:
        """Leave the wish that this submission of the run stop at a sealed checkpoint; its machine reads it within seconds."""
        self.place.store.put_bytes(self.place.key(STOP), json.dumps({"submission": submission, "time": now, "reason": reason}).encode())

    def stop_reason(self, submission: str) -> str | None:
        """Why this submission shall stop, None when nobody wants that."""
        raw = self.json(STOP)
        return str(raw.get("reason") or "stopped on request") if raw is not None and raw.get("submission") == submission else None

    def json(self, name: str) -> dict[str, Any] | None:
        """A small object as JSON, None when it is missing or is none."""
        try:
            raw = json.loads(get_bytes(self.place.store, self.place.key(name), limit=_SMALL))
        except (FileNotFoundError, ValueError):
            return None
        return raw if isinstance(raw, dict) else None

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Replace a small object."""
        self.place.store.put_bytes(self.place.key(name), json.dumps(content, indent=1).encode() + b"\n")

    def text(self, name: str) -> str | None:
        """A small object as text, None when it is missing."""
        with suppress(FileNotFoundError):
            return get_bytes(self.place.store, self.place.key(name), limit=_SMALL).decode("utf-8", errors="replace")
        return None

    def _read(self, name: str, kind: type[Model]) -> Model | None:
        try:
            content = get_bytes(self.place.store, self.place.key(name), limit=_SMALL)
        except FileNotFoundError:
            return None
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise UserError(bad_record(content, error.errors()[0]["msg"], self.place.url(name))) from error

    def _write(self, name: str, content: BaseModel) -> None:
        self.place.store.put_bytes(self.place.key(name), content.model_dump_json(indent=1).encode() + b"\n")


def stored_runs(store: Store, *, wanted: Callable[[str], bool] = lambda _run: True) -> list[str]:
    """The names of the runs in a store that have a record and are `wanted`, in order; whatever else lies there."""
    return sorted(folders_with(store, "", RECORD, wanted=lambda name: is_run_name(name) and wanted(name), foreign=True))


class GrowingText:
    """Writes a text that grows, in parts below `name`. A new writer goes on in a part of its own."""

    def __init__(self, place: RunStore, name: str) -> None:
        self._place, self._name = place, name
        self._number = 1 + max(
            (int(part) for stat in place.store.list(place.key(f"{name}/")) if (part := stat.key.rpartition("/")[2]).isdecimal()), default=-1
        )
        self._part = b""

    def append(self, content: bytes) -> None:
        """Add to the text. What was given before a failure is written with the next call."""
        self._part += content
        self._place.store.put_bytes(self._place.key(f"{self._name}/{self._number:08d}"), self._part)
        if len(self._part) >= PART_BYTES:
            self._number, self._part = self._number + 1, b""


@dataclass(slots=True, kw_only=True)
class StoredText:
    """Reads such a text as it grows. `pause_s`: the store is not asked more often, whoever asks; `clock` is monotonic seconds."""

    place: RunStore
    name: str
    pause_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _part: str = ""
    _offset: int = 0
    _asked: float | None = None
    _heard: float | None = None
    _rest: bytes = b""

    def new(self) -> str:
        """The whole lines that are new since the last call."""
        now = self.clock()
        if self._asked is not None and now - self._asked < self.pause_s:
            return ""
        try:
            self._fetch()
        except (OSError, UserError):
            # Who watches for hours meets a store that fails for minutes; the first look must work, and a long silence is told.
            if self._heard is None or now - self._heard > PATIENCE_S:
                raise
            return ""
        self._heard = now
        end = self._rest.rfind(b"\n") + 1
        whole, self._rest = self._rest[:end], self._rest[end:]
        return whole.decode("utf-8", errors="replace")

    def rest(self) -> str:
        """All that is left, half a line included."""
        self._fetch()
        content, self._rest = self._rest, b""
        return content.decode("utf-8", errors="replace")

    def last(self, count: int) -> list[str]:
        """The last lines so far, read already or not."""
        keys = sorted(stat.key for stat in self.place.store.list(self.place.key(f"{self.name}/")))
        content = b"".join(get_bytes(self.place.store, key, limit=2 * PART_BYTES + _SMALL) for key in keys[-2:])
        return content.decode("utf-8", errors="replace").splitlines()[-count:]

    def _fetch(self) -> None:
        self._asked = self.clock()
        prefix = self.place.key(f"{self.name}/")
        for stat in self.place.patiently(lambda: sorted(self.place.store.list(prefix), key=attrgetter("key"))):
            part = stat.key.removeprefix(prefix)
            if part < self._part or (part == self._part and stat.size <= self._offset):
                continue
            content = get_bytes(self.place.store, stat.key, limit=2 * PART_BYTES + _SMALL)
            self._rest += content[self._offset if part == self._part else 0 :]
            self._part, self._offset = part, len(content)


@dataclass(slots=True, kw_only=True)
class StoredEvents:
    """A run's events from its storage, as they come."""

    text: StoredText
    seen: list[Event] = field(default_factory=list)

    def new(self) -> list[Event]:
        """The whole events since the last call; what does not parse is passed over."""
        events: list[Event] = []
        for line in self.text.new().splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "kind" in event:
                    events.append(event)
        self.seen += events
        return events
