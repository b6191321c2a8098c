"""`notice.json`: why a training process is asked to stop, and how long it has."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from runtime.record import write_atomic


def write_notice(path: Path, *, kind: Literal["stop", "preempt"], deadline_s: float, clock: Callable[[], float] = time.time) -> None:
    """Leave a notice for the training process, which reads it when it gets SIGTERM."""
    write_atomic(path, json.dumps({"kind": kind, "deadline_s": deadline_s, "time": clock()}).encode())


def read_notice(path: Path) -> str | None:
    """The kind of the notice, None when there is no readable one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = content.get("kind") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


def clear_notice(path: Path) -> None:
    """Take the notice away, so that the next attempt does not read it as its own."""
    path.unlink(missing_ok=True)
