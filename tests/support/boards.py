"""Boards without a network: between threads, and as keys of a store that is explored."""

from __future__ import annotations

import threading
from typing import Any


class MemoryBoard:
    """A board in this process. `gone`: the head's process has died."""

    def __init__(self) -> None:
        self.gone = False
        self.said: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def post(self, key: str, content: bytes) -> None:
        self._alive()
        with self._lock:
            self.said[key] = content

    def read(self, key: str) -> bytes | None:
        self._alive()
        with self._lock:
            return self.said.get(key)

    def _alive(self) -> None:
        if self.gone:
            raise ConnectionError("the head is gone")


class StoreBoard:
    """A board whose words are objects of `store` below `life`, where no reader of checkpoints looks."""

    def __init__(self, store: Any, life: str) -> None:
        self._store = store
        self._life = life

    def post(self, key: str, content: bytes) -> None:
        self._store.put_bytes(f"{self._life}/{key}", content)

    def read(self, key: str) -> bytes | None:
        try:
            return b"".join(self._store.read(f"{self._life}/{key}"))
        except FileNotFoundError:
            return None
