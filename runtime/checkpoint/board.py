"""The board: where the machines of one run, in one life of it, leave words for one another."""

from __future__ import annotations

from typing import Protocol


class Board(Protocol):
    """Small values under keys, the last one written stays. It lives as long as the processes that train together and no longer, so what is read there
    was written by one of them: a machine of an earlier life has no way to it. Both methods raise ConnectionError when the head's process is gone."""

    def post(self, key: str, content: bytes) -> None:
        """Leave `content` under `key`."""
        ...

    def read(self, key: str) -> bytes | None:
        """What is under `key` now; None when nothing is. Never waits for it."""
        ...
