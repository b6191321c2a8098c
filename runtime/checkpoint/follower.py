"""Sending what one machine holds of the checkpoints that several write, when the head of the run calls for it."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential
from tenacity.wait import wait_base

from runtime.checkpoint.board import Board
from runtime.checkpoint.busy import AtLeastAsked
from runtime.checkpoint.jitter import Jitter
from runtime.checkpoint.manifest import Manifest
from runtime.checkpoint.others import POLL_S
from runtime.checkpoint.portion import OVER, Answer, Call, answer_key, left_key, read_call
from runtime.checkpoint.stored import RunStore, newest_manifest
from runtime.checkpoint.storing import NotUploadableError, read_sealed, send_portion
from runtime.config.problem import Problem, UserError
from runtime.events import OnEvent

# Between two saves of all machines the head may call for the newest portion or the one before, and for no other that it has not called for yet.
_CALLABLE = 2


@dataclass(slots=True, kw_only=True, eq=False)
class _Portion:
    step: int
    folder: Path | None
    """None where this machine has nothing to add to the step."""
    missing: str = ""
    """Why there is nothing to send although there should be."""
    sent: dict[str, int] = field(default_factory=dict)


class Follower:
    """Sends the submitted portions of machine `index` that the head calls for, and tells it on the `board`.

    Nothing that is in the store by this is a checkpoint: the head's manifest makes it one, or nothing does. Failures are retried with growing pauses
    until they pass, this is closed, or the head calls for another step. No method raises what a store does; `on_event` hears `portion_sent {bytes, sent_bytes}`,
    `upload_retry {message, attempt, wait_s}` and `upload_failed {message}`, from the sending thread.
    """

    fenced: Problem | None = None
    """The head holds the lease for all machines, and stops all of them."""

    def __init__(
        self,
        place: RunStore,
        board: Board,
        *,
        index: int,
        writer: str,
        on_event: OnEvent,
        wait: wait_base | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self._place = place
        self._board = board
        self._index = index
        self._writer = writer
        self._on_event = on_event
        self._wait = AtLeastAsked(wait_exponential(multiplier=0.5, max=60) + Jitter(1) if wait is None else wait)
        self._poll_s = poll_s
        self._changed = threading.Condition()
        self._waiting: list[_Portion] = []
        self._active: _Portion | None = None
        self._answered = 0
        self._earlier: Manifest | None = None
        self._looked = False
        self._closing = False
        self._over = False
        self._thread = threading.Thread(target=self._work, name="follower", daemon=True)
        self._thread.start()

    @property
    def protected(self) -> frozenset[Path]:
        """Local folders that may be called for or are being sent; retention leaves them alone."""
        with self._changed:
            portions = [*self._waiting, *([self._active] if self._active else [])]
            return frozenset(portion.folder for portion in portions if portion.folder is not None)

    def submit(self, folder: Path | None, *, step: int) -> None:
        """Have the sealed portion `folder` of `step` sent when the head calls for it; None when there is nothing to send of this step. Returns at once."""
        self._submit(_Portion(step=step, folder=None if folder is None else folder.absolute()))

    def miss(self, step: int, message: str) -> None:
        """As `submit`, of a portion that could not be sealed, so that the head does not wait for it; `message` says why."""
        self._submit(_Portion(step=step, folder=None, missing=message))

    def _submit(self, portion: _Portion) -> None:
        called = self._called()
        with self._changed:
            self._waiting.append(portion)
            wanted = called.step if called is not None and called.number > self._answered else None
            recent = self._waiting[-_CALLABLE:]
            self._waiting = [portion for portion in self._waiting if portion in recent or portion.step == wanted]
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until the head calls for nothing more; whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: self._over, timeout_s)

    def finish(self, timeout_s: float) -> bool:
        """Wait until what is called for now is answered; whether it came to that. Nobody who waits for this process is kept longer than that."""
        called = self._called()
        with self._changed:
            return self._changed.wait_for(lambda: self._over or called is None or self._answered >= called.number, timeout_s)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Stop. False when the thread was still inside a request after `timeout_s` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self._is_over():
            if not self._look():
                self._pause(self._poll_s)
        with suppress(ConnectionError):
            self._board.post(left_key(self._index), b"1")
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _look(self) -> bool:
        """Send what is called for now; whether anything was."""
        call = self._called()
        portion = self._take(call)
        if call is None or portion is None:
            return False
        answer = self._send(portion, call)
        with self._changed:
            self._active = None
        if answer is not None:
            self._answer(call, answer)
        # What is not answered is called off: the head has called for another step, or this ends.
        self._done(call)
        return True

    def _done(self, call: Call) -> None:
        with self._changed:
            self._answered = call.number
            self._changed.notify_all()

    def _take(self, call: Call | None) -> _Portion | None:
        """The portion that is called for, when it is here."""
        if call is None or call.number <= self._answered:
            return None
        with self._changed:
            found = next((portion for portion in self._waiting if portion.step == call.step), None)
            if found is not None:
                self._waiting = self._waiting[self._waiting.index(found) + 1 :]
                self._active = found
                return found
            passed = any(portion.step > call.step for portion in self._waiting)
        if passed:
            self._answer(call, Answer(state="lost", message="it is not here any more"))
            self._done(call)
        return None

    def _send(self, portion: _Portion, call: Call) -> Answer | None:
        """What to tell the head; None when it wants something else by now."""
        if portion.missing:
            return Answer(state="lost", message=portion.missing)
        if portion.folder is None:
            return Answer(state="sent")
        retrying = Retrying(
            retry=retry_if_exception_type((OSError, UserError)),
            wait=self._wait,
            stop=lambda _state: self._is_called_off(call),
            sleep=lambda seconds: self._pause(seconds, call),
            before_sleep=lambda state: self._tell_retry(portion, call, state),
            reraise=True,
        )
        try:
            manifest = retrying(self._send_once, portion, portion.folder, call)
        except (OSError, UserError) as error:
            self._tell("upload_failed", portion, message=str(error))
            return None
        except NotUploadableError as error:
            self._tell("upload_failed", portion, message=str(error))
            return Answer(state="lost", message=error.problem.message)
        except Exception as error:  # noqa: BLE001  an upload may fail in ways nobody foresaw; training may not fail with it
            self._tell("upload_failed", portion, message=f"{type(error).__name__}: {error}")
            return Answer(state="lost", message=f"{type(error).__name__}: {error}")
        self._earlier = manifest
        self._tell("portion_sent", portion, bytes=manifest.total_bytes, sent_bytes=sum(portion.sent.values()))
        return Answer(state="sent", manifest=manifest)

    def _send_once(self, portion: _Portion, folder: Path, call: Call) -> Manifest:
        if self._earlier is None and not self._looked:
            self._earlier = newest_manifest(self._place)
            self._looked = True
        return send_portion(
            self._place,
            folder,
            writer=f"{self._writer}-{read_sealed(folder).content_mark}-{self._index}",
            sent=portion.sent,
            earlier=self._earlier,
            cancelled=lambda: self._is_called_off(call),
        )

    def _called(self) -> Call | None:
        try:
            return read_call(self._board)
        except ConnectionError:
            self._head_is_gone()
            return None

    def _is_over(self) -> bool:
        with self._changed:
            if self._closing:
                return True
        try:
            return self._board.read(OVER) is not None
        except ConnectionError:
            return True

    def _is_called_off(self, call: Call) -> bool:
        with self._changed:
            if self._closing:
                return True
        newest = self._called()
        return newest is not None and newest.number > call.number

    def _head_is_gone(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _answer(self, call: Call, answer: Answer) -> None:
        try:
            self._board.post(answer_key(call, self._index), answer.model_dump_json().encode())
        except ConnectionError:
            self._head_is_gone()

    def _pause(self, seconds: float, call: Call | None = None) -> None:
        """Wait, but not on when this is closed or, where a `call` is being answered, when it is called off."""
        left = seconds
        while left > 0 and not self._closing and (call is None or not self._is_called_off(call)):
            with self._changed:
                self._changed.wait_for(lambda: self._closing, min(left, self._poll_s))
            left -= self._poll_s

    def _tell_retry(self, portion: _Portion, call: Call, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait_s = round(state.next_action.sleep, 1) if state.next_action else 0.0
        self._tell("upload_retry", portion, message=str(error), attempt=state.attempt_number, wait_s=wait_s)
        self._answer(call, Answer(state="failing", message=str(error)))

    def _tell(self, kind: str, portion: _Portion, **fields: object) -> None:
        # A listener that fails may not end the uploads.
        with suppress(Exception):
            self._on_event(kind, step=portion.step, path=str(portion.folder), **fields)
