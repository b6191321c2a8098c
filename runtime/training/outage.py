"""A store that fails for a while: said once when it begins to matter, and once when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from runtime.checkpoint.patience import Patience
from runtime.config.problem import UserError

# How long a start asks a store that does not answer. A machine that was just taken, and is paid for, waits rather than ending a run over a hiccup.
PATIENCE_S = 600.0
# Shorter failures are the daily life of a network.
_NOTABLE_S = 5.0
_FAILURES = frozenset({"upload_retry", "lease_failed"})


class Outage:
    """What a run's store has been doing. Told of failures and successes from any thread; `say` gets a line, `emit` the events `store_failing {message}`
    and `store_answers {seconds}`, and when nothing can be deleted there any more, or can again, `store_keeps {message}` and `store_deletes`. What it
    will never hold is said each time."""

    def __init__(
        self,
        *,
        say: Callable[[str], None],
        emit: Callable[..., None],
        called_off: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._called_off = called_off
        self._say = say
        self._emit = emit
        self._clock = clock
        self._since: float | None = None
        self._told = False
        self._keeps = False
        self._lock = threading.Lock()

    @property
    def patience(self) -> Patience:
        """For who needs an answer of the store before it can go on; it ends with a wish to stop, `called_off`."""
        return Patience(
            seconds=PATIENCE_S,
            on_retry=lambda error, wait_s: self.failed(in_words(error), wait_s),
            on_answer=self.over,
            called_off=self._called_off,
        )

    def hear(self, event: dict[str, Any]) -> None:
        """Learn from an event of the run's log."""
        message = " ".join(str(event.get("message", "")).split())
        match event.get("kind"):
            case kind if kind in _FAILURES:
                self.failed(message, float(event.get("wait_s") or 0.0))
            case "uploaded":
                self.over()
            case "prune_failed" if event.get("lasts") and not self._keeps:
                self._keeps = True
                self._emit("store_keeps", message=message)
                self._say(f"warning: checkpoints that are not to be kept stay in the store: {message}")
            case "pruned" if self._keeps:
                self._keeps = False
                self._emit("store_deletes")
                self._say("what is not to be kept could be deleted from the store")
            case "upload_failed":
                self._say(f"warning: {event.get('path')} is not in the store: {message}")
            case "fenced":
                self._say(f"warning: {message}; this process ends")
            case _:
                pass

    def failed(self, message: str, wait_s: float = 0.0) -> None:
        """A request failed, and is made again in `wait_s` seconds."""
        with self._lock:
            now = self._clock()
            self._since = now if self._since is None else self._since
            tell = not self._told and now + wait_s - self._since >= _NOTABLE_S
            self._told = self._told or tell
        if tell:
            self._emit("store_failing", message=message)
            self._say(f"warning: the store does not take or give what it is asked for: {message}; it is asked again")

    def over(self) -> None:
        """A request succeeded."""
        with self._lock:
            seconds = self._clock() - self._since if self._since is not None else 0.0
            told, self._told, self._since = self._told, False, None
        if told:
            self._emit("store_answers", seconds=round(seconds, 1))
            self._say(f"the store answers again, after {seconds:.0f} s")


def in_words(error: BaseException) -> str:
    """`error` on one line, with what to do about it where that is known."""
    if isinstance(error, UserError):
        return "; ".join(" ".join(str(problem).split()) for problem in error.problems)
    return " ".join(str(error).split()) or type(error).__name__
