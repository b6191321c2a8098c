"""Copies of sealed checkpoints on the Hub while training goes on: a thread that no step waits for. The Hub is never the only place a checkpoint is in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.checkpoint.layout import step_of
from runtime.config.problem import UserError
from runtime.events import OnEvent
from runtime.publish.hub.contents import Strategy, checkpoint_files, stale
from runtime.publish.hub.pushing import Pushed, push
from runtime.publish.hub.repository import Repository

# One checkpoint is tried for this long; by then there is a newer one, or the Hub is down for good.
PATIENCE_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    folder: Path
    step: int | None


class HubCopies:
    """Pushes submitted checkpoints, one after another.

    While one is sent, only the newest waits, and one that keeps failing makes room for it; with `all_checkpoints` each waits its turn. No method raises what the Hub does:
    `on_event` is told.
    It hears `pushed {url, commit, seconds, bytes}`, `push_retry {message, attempt, wait_s}`, `push_dropped {message}` and `push_failed {message}`,
    from the pushing thread or the submitting one.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        strategy: Strategy,
        on_event: OnEvent,
        push_files: Callable[..., Pushed] = push,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository = repository
        self._strategy = strategy
        self._on_event = on_event
        self._push = push_files
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._active: _Job | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="hub", daemon=True)
        self._thread.start()

    @property
    def protected(self) -> frozenset[Path]:
        """Local folders that retention leaves alone: the one being sent and the one to be sent next. Of more that wait, retention may take some, which is told."""
        with self._changed:
            return frozenset(job.folder for job in [*([self._active] if self._active else []), *self._waiting[:1]])

    def submit(self, folder: Path) -> None:
        """Have the sealed checkpoint `folder` pushed. Returns at once."""
        job = _Job(folder=folder.absolute(), step=step_of(folder.name))
        dropped: list[_Job] = []
        with self._changed:
            if self._closing or self._strategy == "end":
                return
            if self._strategy != "all_checkpoints":
                dropped, self._waiting = self._waiting, []
            self._waiting.append(job)
            self._changed.notify_all()
        for other in dropped:
            self._tell("push_dropped", other, message=f"a newer checkpoint ({folder.name}) is waiting to be pushed")

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left to push, at most `timeout_s` seconds; whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and self._active is None, timeout_s)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Stop: what is not pushed is given up and told. False when the thread was still inside a request after `timeout_s` seconds."""
        with self._changed:
            self._closing = True
            abandoned, self._waiting = self._waiting, []
            self._changed.notify_all()
        for job in abandoned:
            self._tell("push_dropped", job, message="the training ended before it was pushed")
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._send(job)
            except UserError as error:
                self._tell("push_failed", job, message="; ".join(problem.message for problem in error.problems))
            except Exception as error:  # noqa: BLE001  a push may fail in ways nobody foresaw; training may not fail with it
                self._tell("push_failed", job, message=f"{type(error).__name__}")
            with self._changed:
                self._active = None
                self._changed.notify_all()

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._active = self._waiting.pop(0) if self._waiting and not self._closing else None
            return self._active

    def _send(self, job: _Job) -> None:
        if not job.folder.is_dir():
            self._tell("push_dropped", job, message="retention deleted it before its turn came: the Hub is slower than the saves")
            return
        started = self._clock()
        files = checkpoint_files(job.folder, self._strategy)
        pushed = self._push(
            self._repository,
            files,
            message=f"Training in progress, step {job.step}",
            stale=lambda there: stale(there, files),
            patience_s=PATIENCE_S,
            on_retry=lambda **fields: self._tell("push_retry", job, **fields),
            cancelled=self._is_superseded,
            sleep=self._pause,
        )
        self._tell("pushed", job, url=pushed.url, commit=pushed.commit, seconds=round(self._clock() - started, 3), bytes=pushed.bytes)

    def _is_superseded(self) -> bool:
        with self._changed:
            return self._closing or (bool(self._waiting) and self._strategy != "all_checkpoints")

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or (bool(self._waiting) and self._strategy != "all_checkpoints"), seconds)

    def _tell(self, kind: str, job: _Job, **fields: object) -> None:
        # A listener that fails (a full disk under the event log) may not end the pushes.
        with suppress(Exception):
            self._on_event(kind, step=job.step, path=str(job.folder), **fields)
