"""A store whose requests fail in the ways stores, networks and disks do, by chance and from a seed."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from runtime.checkpoint.checksum import Digest, digest_bytes, digest_file
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.disk import disk_error
from runtime.checkpoint.store import Capabilities, Stat
from runtime.checkpoint.transit import Arrived, nobody


class FaultyStore:
    """`inner`, where one request in `1 / rate` goes wrong: it fails, fails after it was done, times out, is slow; an upload stores half of the file, or
    another byte, or nothing, and says nothing of it, or finds the disk full; a download brings a wrong byte, or does not find what is there.

    What is stored already is never damaged, and small objects arrive whole or not at all, as `Store` promises.
    """

    def __init__(self, inner: DirectoryStore, *, seed: int, rate: float, conditional: bool = True) -> None:
        self.capabilities = Capabilities(conditional_put=conditional and inner.capabilities.conditional_put)
        self._inner = inner
        self._rate = rate
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def put_file(self, key: str, source: Path, *, origin: str | None = None) -> Digest:
        if origin is not None and self._inner.stat(origin) is not None:
            fault = self._draw("fail", "late", "slow", "full", "byte")
            content = b"".join(self._inner.read(origin))
            self._inner.put_bytes(key, _spoilt(content) if fault == "byte" else content)
            self._late(fault)
            return replace(digest_file(source), copied=True)
        fault = self._draw("fail", "late", "slow", "full", "half", "byte", "vanish")
        if fault in ("half", "byte"):
            content = source.read_bytes()
            spoilt = content[: len(content) // 2] if fault == "half" else _spoilt(content)
            self._inner.put_bytes(key, spoilt)
            return digest_bytes(content)
        digest = self._inner.put_file(key, source)
        if fault == "vanish":
            self._inner.delete(key)
        self._late(fault)
        return digest

    def put_bytes(self, key: str, content: bytes, *, create: bool = False, replaces: str | None = None) -> None:
        fault = self._draw("fail", "late", "slow", "full")
        self._inner.put_bytes(key, content, create=create, replaces=replaces)
        self._late(fault)

    def get_file(self, key: str, target: Path, *, arrived: Arrived = nobody) -> Digest:
        fault = self._draw("fail", "late", "slow", "byte", "missing")
        digest = self._inner.get_file(key, target, arrived=arrived)
        if fault == "byte":
            target.write_bytes(_spoilt(target.read_bytes()))
            return Digest(size=digest.size, checksum="xxh3_128:" + "0" * 32)
        self._late(fault)
        return digest

    def read(self, key: str) -> Iterator[bytes]:
        fault = self._draw("fail", "slow", "byte", "missing", "late")
        content = b"".join(self._inner.read(key))
        if fault == "late":
            yield content[: len(content) // 2]
        self._late(fault)
        yield _spoilt(content) if fault == "byte" else content

    def list(self, prefix: str) -> Iterator[Stat]:
        self._draw("fail", "slow")
        return self._inner.list(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        self._draw("fail", "slow")
        return self._inner.folders(prefix)

    def stat(self, key: str) -> Stat | None:
        self._draw("fail", "slow")
        return self._inner.stat(key)

    def delete(self, key: str) -> None:
        fault = self._draw("fail", "late", "slow")
        self._inner.delete(key)
        self._late(fault)

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        self._draw("fail", "slow")

    def url(self, key: str = "") -> str:
        return self._inner.url(key)

    def _draw(self, *faults: str) -> str:
        """What goes wrong with this request, `""` for nothing; raises it when it is a failure before anything was done."""
        with self._lock:
            fault = self._chance.choice(faults) if self._chance.random() < self._rate else ""
            pause_s = self._chance.uniform(0, 0.01)
        if fault == "slow":
            time.sleep(pause_s)
        if fault == "fail":
            raise ConnectionResetError(errno.ECONNRESET, "reset by peer")
        if fault == "missing":
            raise FileNotFoundError("not there at this moment")
        if fault == "full":
            raise disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), self._inner.root)
        return fault

    def _late(self, fault: str) -> None:
        if fault == "late":
            raise TimeoutError(errno.ETIMEDOUT, "the answer did not come in time")


def _spoilt(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :] if content else b"!"
