"""The other machines of a run, as the head that seals for all of them meets them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from runtime.checkpoint.board import Board
from runtime.checkpoint.manifest import Manifest
from runtime.checkpoint.portion import CALL, OVER, Answer, Call, PortionError, alive_key, left_key, merge, read_answer
from runtime.config.problem import Problem

# A word on the board costs next to nothing, and nobody waits for the answer but the thread that sends.
POLL_S = 0.2
_LEAVING_S = 3.0
# How long a machine that is there is silent at most: it says something twice a second, but for what a virtual machine sleeps when it is moved.
_SILENT_S = 30.0


class Others:
    """Calls for the portions of `count` - 1 other machines, and waits for them.

    What is sealed next is the head's choice alone, so that machines which fall behind by different amounts never wait for one another's dropped steps:
    the others send what is called for, and nothing else.
    """

    gone = False
    """One of them had ended, or was silent, when its portion was called for."""

    def __init__(self, board: Board, *, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._count = count
        self._clock = clock
        self._calls = 0
        self._hurries = False
        self._alive: dict[int, tuple[bytes | None, float]] = {}

    def call(self, step: int) -> Call:
        """Have the portions of `step` sent. Raises ConnectionError."""
        self._calls += 1
        call = Call(number=self._calls, step=step)
        self._board.post(CALL, call.model_dump_json().encode())
        return call

    def whole(
        self,
        own: Manifest,
        call: Call,
        *,
        writer: str,
        cancelled: Callable[[], bool],
        guard: Callable[[], None],
        pause: Callable[[float], None],
    ) -> Manifest:
        """The manifest of the whole checkpoint, of which the head's `own` portion is in the store, once all others are too.

        Waits as long as they are being sent. Raises ConnectionError when one of them fails for now, InterruptedError when `cancelled`, PortionError when
        one will never come, and what `guard` raises, which is asked all the while.
        """
        found: dict[int, Answer] = {}
        while True:
            for index in range(1, self._count):
                answer = None if index in found else self._answer(call, index)
                if answer is not None and answer.state == "sent":
                    found[index] = answer
                elif answer is not None:
                    self._refuse(own.step, index, answer)
            if len(found) == self._count - 1:
                sent = [(index, answer.manifest) for index, answer in sorted(found.items()) if answer.manifest is not None]
                return merge(own, sent, writer=writer)
            if cancelled():
                raise InterruptedError("the upload was called off")
            guard()
            pause(POLL_S)

    def hurry(self) -> None:
        """The run ends: from now on a machine that says nothing at all is waited for no more."""
        self._hurries = True

    def dismiss(self, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Tell the others that nothing more is called for, and give them a moment to hear it: the board goes with this process."""
        with suppress(ConnectionError):
            self._board.post(OVER, b"1")
            for _ in range(int(_LEAVING_S / POLL_S)):
                if all(self._board.read(left_key(index)) is not None for index in range(1, self._count)):
                    return
                sleep(POLL_S)

    def _answer(self, call: Call, index: int) -> Answer | None:
        """What machine `index` says to the call; None while it may yet answer."""
        answer = read_answer(self._board, call, index)
        if answer is None and self._board.read(left_key(index)) is not None:
            # Its last words came before it left.
            return read_answer(self._board, call, index) or self._gone("it has ended")
        if answer is None and self._hurries and self._is_silent(index):
            return self._gone("it is gone without a word")
        return answer

    def _gone(self, how: str) -> Answer:
        self.gone = True
        return Answer(state="lost", message=how)

    def _is_silent(self, index: int) -> bool:
        said, now = self._board.read(alive_key(index)), self._clock()
        before, since = self._alive.get(index, (None, now))
        if index not in self._alive or said != before:
            self._alive[index] = said, now
            return False
        return now - since > _SILENT_S

    def _refuse(self, step: int, index: int, answer: Answer) -> None:
        who = f"machine {index + 1} of {self._count}"
        if answer.state == "failing":
            raise ConnectionError(f"{who} cannot send its portion yet: {answer.message}")
        raise PortionError(
            Problem(
                code="portion-lost",
                message=f"{who} has no portion of step {step} to send: {answer.message}",
                fix="the next checkpoint is tried anew",
            )
        )
