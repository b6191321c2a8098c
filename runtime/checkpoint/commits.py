"""Changes that several threads make at the same time, gathered into one commit."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from runtime.checkpoint.retry import again


@dataclass(slots=True, eq=False)
class _Change:
    operation: Any
    over: bool = False
    error: BaseException | None = None


class Commits:
    """Makes commits by `commit(operations, again)`; `again`: an earlier commit of the same failed, or only its answer was lost.

    A thread that has a change ready waits for those that have announced theirs (`coming`), and one of them commits for all: so the files of a
    checkpoint, sent side by side, are one commit however long each took. A commit that fails has failed for everyone in it.
    """

    def __init__(self, commit: Callable[[list[Any], bool], None]) -> None:
        self._commit = commit
        self._changed = threading.Condition()
        self._coming = 0
        self._ready: list[_Change] = []
        self._busy = False

    @contextmanager
    def coming(self) -> Iterator[Announced]:
        """A change that is being prepared in this block; `make` on what it gives commits it."""
        announced = Announced(self)
        with self._changed:
            self._coming += 1
        try:
            yield announced
        finally:
            self._arrive(announced)

    def make(self, operation: Any) -> None:
        """Commit `operation`, with those of others that are ready. Raises what the commit raised."""
        change = _Change(operation)
        with self._changed:
            self._ready.append(change)
            self._changed.notify_all()
            self._changed.wait_for(lambda: change.over or (self._coming == 0 and not self._busy))
            if change.over:
                return self._end(change)
            self._busy = True
            together, self._ready = self._ready, []
        error: BaseException | None = None
        tries = itertools.count()
        try:
            again(lambda: self._all(together, anew=next(tries) > 0))
        except BaseException as failure:  # noqa: BLE001  handed to every thread whose change it was
            error = failure
        with self._changed:
            self._busy = False
            for one in together:
                one.over, one.error = True, error
            self._changed.notify_all()
        return self._end(change)

    def _all(self, together: list[_Change], *, anew: bool) -> None:
        # Of two changes of one file, the later one holds.
        by_path = {one.operation.path_in_repo: one.operation for one in together}
        try:
            self._commit(list(by_path.values()), anew)
        except FileExistsError as error:
            # No condition was set: the Hub is busy with another commit of this repository.
            raise ConnectionError(*error.args) from error

    def _arrive(self, announced: Announced) -> None:
        with self._changed:
            if not announced.arrived:
                announced.arrived = True
                self._coming -= 1
                self._changed.notify_all()

    def _end(self, change: _Change) -> None:
        if change.error is not None:
            raise change.error


class Announced:
    """A change that others wait for."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self.arrived = False

    def make(self, operation: Any) -> None:
        """As Commits.make; nobody waits for this one any more."""
        self._commits._arrive(self)
        self._commits.make(operation)
