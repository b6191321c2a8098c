"""The board of a run whose machines have disks of their own: kept by the head's first process, over torch's own key-value server."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from runtime.training.processes import Rank

Result = TypeVar("Result")

_TIMEOUT = timedelta(seconds=60)


class TcpBoard:
    """A Board at `host`:`port`; kept here when `port` is 0, the port it got is `port` then. Raises UserError when it cannot be reached."""

    def __init__(self, host: str, port: int = 0) -> None:
        from torch.distributed import TCPStore

        self._is_kept_here = port == 0
        self._gone = False
        try:
            self._store = TCPStore(host, port, is_master=self._is_kept_here, timeout=_TIMEOUT, wait_for_workers=False)
        except RuntimeError as error:
            raise UserError(
                Problem(
                    code="unreachable",
                    place=f"{host}:{port}" if port else host,
                    message=f"the machines of this run cannot speak with its head: {str(error).splitlines()[0]}",
                    fix="open all ports between the machines",
                ),
                exit_code=ExitCode.TRAINING_FAILED,
            ) from error

    @property
    def port(self) -> int:
        """Where the others find it."""
        return int(self._store.port)

    def post(self, key: str, content: bytes) -> None:
        """As Board.post."""
        self._told(lambda: self._store.set(key, content))  # type: ignore[arg-type]

    def read(self, key: str) -> bytes | None:
        """As Board.read."""
        return self._told(lambda: self._store.get(key) if self._store.check([key]) else None)

    def _told(self, ask: Callable[[], Result]) -> Result:
        """What `ask` returns. torch itself waits for ever for a machine that has vanished, so that it is asked in a thread that may be left behind."""
        answers: list[Result] = []
        errors: list[RuntimeError] = []

        def run() -> None:
            try:
                answers.append(ask())
            except RuntimeError as error:
                errors.append(error)

        if self._is_kept_here:
            run()
        elif not self._gone:
            asking = threading.Thread(target=run, name="board", daemon=True)
            asking.start()
            asking.join(_TIMEOUT.total_seconds())
        if answers:
            return answers[0]
        self._gone = True
        said = str(errors[0]).splitlines()[0] if errors else f"not for {_TIMEOUT.total_seconds():.0f} s"
        raise ConnectionError(f"the head of this run does not answer: {said}")


def open_board(rank: Rank) -> TcpBoard:
    """The board of this run. Every process must call it. Raises UserError, on all of them, when one cannot reach it."""
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    kept = rank.together((lambda: TcpBoard(host)) if rank.is_main else None)
    port = rank.share(None if kept is None else kept.port)
    found = rank.together(lambda: kept or TcpBoard(host, port))
    assert found is not None
    return found
