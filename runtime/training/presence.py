"""Whether the machines of a run are there: each says something now and then."""

from __future__ import annotations

from collections.abc import Callable

from runtime.checkpoint.board import Board
from runtime.checkpoint.portion import alive_key
from runtime.config.problem import UserError
from runtime.training.failure import lost
from runtime.training.progress import duration

GONE = b"gone"
"""What a machine says last that ends in good order."""
# A machine that has said nothing for so long is spoken of; a long look at memory or a disk is shorter.
_SILENT_S = 60.0


class Presence:
    """Which of `count` machines have said something lately, as the head sees it on the board. `say` is told of one that has not, and when it has again;
    one is given up after `patience_s`. `clock` is monotonic seconds."""

    def __init__(self, count: int, patience_s: float, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._count = count
        self._patience_s = patience_s
        self._say = say
        self._clock = clock
        self._heard: dict[int, tuple[bytes | None, float]] = {index: (None, clock()) for index in range(1, count)}
        self._spoken_of: set[int] = set()

    def look(self, board: Board) -> UserError | None:
        """That a machine is lost, once one has said nothing for too long; one that has ended is no more waited for."""
        for index, (word, since) in list(self._heard.items()):
            said, now = board.read(alive_key(index)), self._clock()
            who = f"machine {index + 1} of {self._count}"
            if said == GONE:
                del self._heard[index]
            elif said != word:
                self._heard[index] = (said, now)
                if index in self._spoken_of:
                    self._spoken_of.remove(index)
                    self._say(f"{who} is heard of again")
            elif now - since > self._patience_s:
                return lost(who, f"nothing was heard of it for {duration(now - since)}")
            elif now - since > min(_SILENT_S, self._patience_s / 2) and index not in self._spoken_of:
                self._spoken_of.add(index)
                self._say(f"warning: nothing is heard of {who}; it is waited for {duration(self._patience_s)} (ddp_timeout)")
        return None
