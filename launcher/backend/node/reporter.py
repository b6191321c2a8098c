"""A thread that tells the run's storage what happens here, and hears from it what shall; the supervisor never waits for either."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher.backend.local.overseer import Wish
from launcher.backend.node.guard import Limits, over
from launcher.state.outputs import newest_sealed_step
from launcher.state.runs import RunFolder
from launcher.state.stored_run import EVENTS, LOG, GrowingText, StoredRun
from launcher.state.tail import TextTail
from launcher.state.usage import Life, Usage
from runtime.config.problem import UserError
from runtime.record import RunRecord, read_record

PERIOD_S = 3.0
_BEAT_S = 15.0
# The end of a run waits so long for its last words to be told.
_LAST_WORDS_S = 60.0


@dataclass(slots=True, kw_only=True)
class Reporter:
    """Copies record, log, events and usage of the run in `folder` to `stored`, and is the supervisor's overseer.

    `leave` is set from outside when the machine is told to go away. `began` is Unix seconds; `since` is how much of the event log the storage has
    already, bytes.
    """

    stored: StoredRun
    folder: RunFolder
    output_dir: Path
    usage: Usage
    life: Life
    limits: Limits
    submission: str
    since: int
    period_s: float = PERIOD_S
    clock: Callable[[], float] = time.time
    leave: Wish | None = None
    _stop: Wish | None = None
    _told: str = ""
    _beaten: float = 0.0
    _active: float = 0.0
    _ending: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _texts: dict[str, GrowingText] = field(default_factory=dict)
    _unsent: dict[str, bytes] = field(default_factory=dict)
    _tails: dict[str, TextTail] = field(default_factory=dict)

    def start(self) -> None:
        """Begin to tell."""
        self._active = self.clock()
        self._tails = {
            LOG: TextTail(self.folder.log_path),
            EVENTS: TextTail(self.output_dir / "events.jsonl", offset=self.since),
        }
        self._thread = threading.Thread(target=self._work, name="reporter", daemon=True)
        self._thread.start()

    def look(self) -> Wish | None:
        """What shall happen to the run now."""
        return self.leave or self._stop

    def close(self) -> bool:
        """Tell the last words; False when the storage did not take all of them in time."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(_LAST_WORDS_S)
        return self._thread is None or not self._thread.is_alive()

    def _work(self) -> None:
        while not self._ending.wait(self.period_s):
            self._turn()
        self.life.ended = True
        until = time.monotonic() + _LAST_WORDS_S
        while not self._turn(last=True) and time.monotonic() < until:
            time.sleep(1.0)

    def _turn(self, *, last: bool = False) -> bool:
        """Whether all of it went well. Whatever a store does, training goes on; what was not told is told next time."""
        good = True
        steps: tuple[Callable[[], None], ...] = (
            lambda: self._tell_texts(last=last),
            self._tell_record,
            lambda: self._beat(last=last),
            self._hear,
        )
        for step in steps:
            try:
                step()
            except (OSError, UserError) as error:
                good = False
                self._note(f"the storage does not take what happens here: {error}")
        return good

    def _tell_texts(self, *, last: bool) -> None:
        for name, tail in self._tails.items():
            text = tail.rest() if last else tail.new()
            if text:
                self._active = self.clock()
                if name == LOG:
                    sys.stdout.write(text)
                    sys.stdout.flush()
            # What the store did not take before comes first.
            content = self._unsent.pop(name, b"") + text.encode()
            if not content:
                continue
            try:
                if name not in self._texts:
                    self._texts[name] = GrowingText(self.stored.place, name)
            except BaseException:
                self._unsent[name] = content
                raise
            self._texts[name].append(content)

    def _tell_record(self) -> None:
        record = self._record()
        if record is not None and (text := record.model_dump_json()) != self._told:
            self.stored.write_record(record)
            self._told = text

    def _record(self) -> RunRecord | None:
        with suppress(UserError):
            return read_record(self.folder.record_path)
        return None

    def _beat(self, *, last: bool) -> None:
        now = self.clock()
        self.life.beat = now
        self.life.sealed_step = max(self.life.sealed_step, newest_sealed_step(self.output_dir))
        if (reason := over(self.limits, self.usage, submission=self.submission, quiet_s=now - self._active)) is not None:
            self._stop = self._stop or Wish(kind="stop", reason=reason)
        if not last and now - self._beaten < _BEAT_S:
            return
        newest = self.stored.usage().last
        if newest is not None and newest.number >= self.life.number and newest.writer != self.life.writer:
            self.leave = self.leave or Wish(kind="leave", reason="another machine has taken this run over", deadline_s=5.0)
            return
        self.stored.write_usage(self.usage)
        self._beaten = now

    def _hear(self) -> None:
        if self._stop is None and (reason := self.stored.stop_reason(self.submission)) is not None:
            self._stop = Wish(kind="stop", reason=reason)

    def _note(self, text: str) -> None:
        sys.stderr.write(f"[node {time.strftime('%H:%M:%S')}] {text}\n")
        sys.stderr.flush()
