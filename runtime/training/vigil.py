"""Hearing how the other processes of a run end, where its machines have disks of their own: each tells, and all end alike."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from runtime.checkpoint.board import Board
from runtime.checkpoint.portion import alive_key
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.training.failure import absence, lost, may_be_absence
from runtime.training.presence import GONE, Presence

_ENDED = "ended"
"""Where the process that ended first tells how."""
_POLL_S = 0.5
# A process that hears of the end of the run is given so long to come to its own: what it waits for may fail at once.
_GRACE_S = 15.0
# One that meets nothing but a broken connection waits so long for the reason, and the head so long for all to have heard its own.
_WORD_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of a machine is watched: that `index`, one of `count`, says something now and then."""

    index: int
    count: int
    speaks: bool
    """Whether this process is the one that speaks for it."""


class Vigil:
    """Tells the other processes how this one, `index` of `count`, ends, and hears of theirs.

    A process that waits for one that is gone may wait for long: `leave` is called, from another thread, with how the run ended, when this one has not
    ended by itself soon after that was told. The head says through `say` which machine it has heard nothing of, and gives it up after `patience_s`.
    """

    def __init__(
        self,
        board: Board,
        *,
        index: int,
        count: int,
        machine: Machine,
        leave: Callable[[UserError], None],
        say: Callable[[str], None],
        patience_s: float,
        poll_s: float = _POLL_S,
        grace_s: float = _GRACE_S,
        word_s: float = _WORD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._index = index
        self._count = count
        self._machine = machine
        self._leave = leave
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._word_s = word_s
        self._presence = Presence(machine.count, patience_s, say, clock) if index == 0 else None
        self._heard: UserError | None = None
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._watch, name="vigil", daemon=True)
        self._thread.start()

    def tell(self, failure: UserError) -> UserError:
        """Why the run ends: what another process has told of before, else `failure`, which the others are told of now. One that may only be another's
        absence waits a moment for the reason, and is that of a lost machine when there comes none."""
        if may_be_absence(failure):
            self._await_word()
            if self._heard is None and (how := absence(failure)) is not None:
                failure = lost("another machine of this run", how)
        self._look()
        if self._heard is not None:
            return self._heard
        self._post(failure)
        return failure

    def check(self) -> None:
        """Nothing, while no other process has told of a failure. Raises it else: what went well here has not for all."""
        self._look()
        if self._heard is not None:
            raise self._heard

    def rest(self) -> None:
        """This process is about to end: which machines are silent is of no interest any more."""
        self._presence = None

    def end(self) -> None:
        """This process has told what there is to tell. The head, with whom the board goes, waits a moment until all have heard it."""
        if self._index == 0:
            self._post(None)
            self._await_heard()
        self._closing.set()
        self._thread.join(self._poll_s + 1.0)
        with suppress(ConnectionError):
            if self._machine.speaks:
                self._board.post(alive_key(self._machine.index), GONE)
            self._board.post(_has_heard(self._index), b"1")

    def _watch(self) -> None:
        beats, heard_at = 0, 0
        while not self._closing.wait(self._poll_s):
            beats += 1
            try:
                if self._machine.speaks:
                    self._board.post(alive_key(self._machine.index), str(beats).encode())
                presence = self._presence
                if presence is not None and (gone := presence.look(self._board)) is not None:
                    self._post(gone)
                    self._hear(gone)
                is_over = self._read()
            except ConnectionError as error:
                self._hear(lost("the head of this run", str(error)))
                is_over = True
            if self._heard is None:
                if is_over:
                    return
                continue
            heard_at = heard_at or beats
            if (beats - heard_at) * self._poll_s >= self._grace_s:
                self._leave(self._heard)
                return

    def _read(self) -> bool:
        """Whether somebody has told of an end; what it was is heard then, unless it was no failure."""
        said = self._board.read(_ENDED)
        if said is None:
            return False
        self._board.post(_has_heard(self._index), b"1")
        index, failure = _decoded(said)
        if failure is not None and index != self._index:
            self._hear(failure)
        return True

    def _look(self) -> None:
        with suppress(ConnectionError):
            self._read()

    def _hear(self, failure: UserError) -> None:
        with self._changed:
            self._heard = self._heard or failure
            self._changed.notify_all()

    def _await_word(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._heard is not None, self._word_s)

    def _post(self, failure: UserError | None) -> None:
        with suppress(ConnectionError):
            if self._board.read(_ENDED) is None:
                self._board.post(_ENDED, _encoded(self._index, failure))

    def _await_heard(self) -> None:
        waiting = list(range(1, self._count))
        with suppress(ConnectionError):
            for _ in range(max(1, int(self._word_s / self._poll_s))):
                waiting = [index for index in waiting if self._board.read(_has_heard(index)) is None]
                if not waiting:
                    return
                time.sleep(self._poll_s)


def _has_heard(index: int) -> str:
    return f"heard/{index}"


def _encoded(index: int, failure: UserError | None) -> bytes:
    told = None if failure is None else {"code": int(failure.exit_code), "problems": [asdict(problem) for problem in failure.problems]}
    return json.dumps({"index": index, "failure": told}).encode()


def _decoded(said: bytes) -> tuple[int, UserError | None]:
    raw = json.loads(said)
    told = raw["failure"]
    if told is None:
        return raw["index"], None
    return raw["index"], UserError([Problem(**problem) for problem in told["problems"]], exit_code=ExitCode(told["code"]))
