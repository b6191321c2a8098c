"""The board of a run whose machines have disks of their own: kept by the head's first process, over torch's own key-value server."""

from __future__ import annotations

import os
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

        try:
            self._store = TCPStore(host, port, is_master=port == 0, timeout=_TIMEOUT, wait_for_workers=False)
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
        _told(lambda: self._store.set(key, content))  # type: ignore[arg-type]

    def read(self, key: str) -> bytes | None:
        """As Board.read."""
        return _told(lambda: self._store.get(key) if self._store.check([key]) else None)


def open_board(rank: Rank) -> TcpBoard:
    """The board of this run. Every process must call it. Raises UserError, on all of them, when one cannot reach it."""
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    kept = rank.together((lambda: TcpBoard(host)) if rank.is_main else None)
    port = rank.share(None if kept is None else kept.port)
    found = rank.together(lambda: kept or TcpBoard(host, port))
    assert found is not None
    return found


def _told(ask: Callable[[], Result]) -> Result:
    try:
        return ask()
    except RuntimeError as error:
        raise ConnectionError(f"the head of this run does not answer: {str(error).splitlines()[0]}") from error
