"""One piece of work done beside the training, which nothing waits for until the next one, or the end."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Errand:
    """At most one piece of work at a time. What it raises is raised in whoever settles it, so no failure is lost."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin `work`, after the one before is settled."""
        self.settle()

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is raised again where it is settled
                self._error = error

        # Not a daemon: a process that ends while a checkpoint is being sealed seals it first.
        self._thread = threading.Thread(target=run, name=self._name, daemon=False)
        self._thread.start()

    def settle(self) -> None:
        """Wait until the work that was begun is done. Raises what it raised, once."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
