"""Checkpoints that a full disk prevents: how many of them a training outlives."""

from __future__ import annotations

from collections.abc import Callable

from runtime.config.problem import UserError

# What fills a disk for a while is gone by then; to train on and on without a checkpoint is to train for nothing.
_MOST = 2


class Missed:
    """Counts the checkpoints missed in a row. `say` is told of each, in a sentence. The same on every process, since what fails is raised on all of them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._count = 0

    def bear(self, work: Callable[[], None]) -> bool:
        """Whether `work` was done; False where a full disk prevented it. Raises what it raises, a third full disk in a row included."""
        try:
            work()
        except UserError as error:
            if self._count == _MOST or any(problem.code != "disk-full" for problem in error.problems):
                raise
            self._count += 1
            first = error.problems[0]
            again = "the next save tries again" if self._count < _MOST else "if the next save fails too, training ends"
            self._say(f"no checkpoint was sealed: {first.message}; {first.fix}. Training goes on, and {again}.")
            return False
        return True

    def over(self) -> None:
        """A checkpoint was sealed."""
        self._count = 0
