"""Asking a run to stop: signals, and the notice that says why and how long is left."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from runtime.config.problem import ExitCode

# A terminal or a supervisor may deliver one request through two ways (the process group and the parent): within this time it is the same request.
SAME_REQUEST_S = 1.0


class StopNow(BaseException):
    """A stop request that reached the run while there was no training state to save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Why a run should stop and when it will be killed: `deadline_at` in Unix seconds, None when nobody hurries."""

    kind: Literal["stop", "preempt"]
    deadline_at: float | None = None
    reason: str = ""

    def left_s(self, now: float) -> float | None:
        """Seconds left to live, None when nobody hurries."""
        return None if self.deadline_at is None else self.deadline_at - now


def most_urgent(notices: Sequence[Notice]) -> Notice:
    """Of several reasons to stop, the one that leaves least time; without a deadline, a preemption before a plain wish."""
    return min(notices, key=lambda notice: (math.inf if notice.deadline_at is None else notice.deadline_at, notice.kind != "preempt"))


def read_notice(path: Path) -> Notice | None:
    """The notice a supervisor left, None when there is none or it cannot be read."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        seconds = raw.get("deadline_s")
        kind: Literal["stop", "preempt"] = "preempt" if raw.get("kind") == "preempt" else "stop"
        deadline = None if seconds is None else float(raw.get("time", path.stat().st_mtime)) + float(seconds)
        return Notice(kind=kind, deadline_at=deadline, reason=str(raw.get("reason", "")))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


class StopRequest:
    """Whether this process was asked to stop. `deferred` while it trains: a request is only noted then and answered at a step boundary; at any other
    time it raises StopNow. A second request ends the process at once."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, leave: Callable[[int], None] = os._exit) -> None:
        self.requested = False
        self.deferred = False
        self.notice: Notice | None = None
        self.save_soon = False
        """Somebody expects this machine to go: the next step boundary should save, and training goes on."""
        self._clock = clock
        self._leave = leave
        self._asked_at = 0.0
        self._signals = 0

    def install(self) -> None:
        """Take SIGTERM and SIGINT from now on."""
        signal.signal(signal.SIGTERM, self.on_signal)
        signal.signal(signal.SIGINT, self.on_signal)

    def on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        """Note the request, or leave at once when it is the second."""
        now = self._clock()
        self._signals += 1
        # A cloud that gave notice sends a signal as well, when it shuts the machine down: that is not a second wish to stop.
        if self.requested and self._signals > 1:
            if now - self._asked_at > SAME_REQUEST_S:
                self._leave(int(ExitCode.INTERRUPTED))
            return
        self.requested, self._asked_at = True, now
        if not self.deferred:
            raise StopNow

    def ask(self, notice: Notice) -> None:
        """Stop at the next step boundary for the reason in `notice`."""
        self.requested, self._asked_at, self.notice = True, self._clock(), notice

    def warn(self, notice: Notice) -> None:
        """As `ask`, from any thread. Where there is no training state to save yet, the main thread is interrupted as by a signal."""
        if self.requested:
            # Only how much time is left is news; a plain request to stop had no end.
            self.notice = notice if self.notice is None else most_urgent([self.notice, notice])
            return
        self.notice = notice
        if self.deferred or signal.getsignal(signal.SIGTERM) != self.on_signal:
            self.requested, self._asked_at = True, self._clock()
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    def why(self, notice_file: Path | None) -> Notice:
        """The reason: given with the request, or left in `notice_file`, or a plain stop."""
        if self.notice is None:
            self.notice = (read_notice(notice_file) if notice_file is not None else None) or Notice(kind="stop")
        return self.notice
