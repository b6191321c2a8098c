"""A store that is hindered at will, and a log of what was told on the way: what sends beside a training is watched with these."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.directory import DirectoryStore

LONG_S = 60.0


class Gated(DirectoryStore):
    """A store whose uploads wait for `gate`, and fail with `error` while there is one."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Event()
        self.error: Exception | None = None

    def put_file(self, key: str, source: Path, *, origin: str | None = None) -> Digest:
        self.started.set()
        assert self.gate.wait(LONG_S)
        if self.error is not None:
            raise self.error
        return super().put_file(key, source, origin=origin)


class Log:
    """Events, and a way to wait for one."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int | None, dict[str, Any]]] = []
        self._changed = threading.Condition()

    def __call__(self, kind: str, step: int | None = None, **fields: Any) -> None:
        with self._changed:
            self.events.append((kind, step, fields))
            self._changed.notify_all()

    def kinds(self) -> list[tuple[str, int | None]]:
        return [(kind, step) for kind, step, _ in self.events]

    def wait(self, kind: str, times: int = 1) -> dict[str, Any]:
        """What the `times`-th event of that kind says."""
        with self._changed:
            assert self._changed.wait_for(lambda: sum(name == kind for name, _, _ in self.events) >= times, LONG_S), self.events
            return [fields for name, _, fields in self.events if name == kind][times - 1]
