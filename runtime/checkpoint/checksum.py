"""Checksums of files and streams: `xxh3_128:<32 hex digits>`.

xxh3 runs at memory speed, so hashing costs less than reading. It recognises damage, not an adversary who can also rewrite the manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

ALGORITHM = "xxh3_128"
CHUNK_BYTES = 1 << 20
# One chunk buffer a thread: enough threads to hide the disk's latency, few enough to leave the cores to training.
THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """How many bytes there were and what they sum to."""

    size: int
    checksum: str
    confirmed: bool = field(default=False, compare=False)
    """After an upload: the store's own checksum of the whole object, asked for afterwards, matched what was read; there is no need to read back."""
    copied: bool = field(default=False, compare=False)
    """After an upload: the store made the object from one it had, and nothing was sent."""


class Hasher:
    """Sums bytes as they pass by."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()
        self._size = 0

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add `chunk` to the sum."""
        self._state.update(chunk)
        self._size += len(chunk)

    def digest(self) -> Digest:
        """Size and checksum of everything added so far."""
        return Digest(size=self._size, checksum=f"{ALGORITHM}:{self._state.hexdigest()}")


def digest_bytes(content: bytes) -> Digest:
    """Size and checksum of `content`."""
    hasher = Hasher()
    hasher.update(content)
    return hasher.digest()


def digest_stream(chunks: Iterable[bytes]) -> Digest:
    """Size and checksum of a stream, holding one chunk at a time."""
    hasher = Hasher()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.digest()


def digest_file(path: Path, *, sync: bool = False) -> Digest:
    """Size and checksum of a file's content; with `sync` the file is on the disk when this returns. Raises OSError."""
    hasher = Hasher()
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            hasher.update(view[:count])
        if sync:
            os.fsync(stream.fileno())
    return hasher.digest()


def digest_files(folder: Path, names: Iterable[str], *, sync: bool = False, threads: int = THREADS) -> dict[str, Digest]:
    """Digest of each file `names` (relative to `folder`), several read at once. Raises the first OSError."""
    ordered = list(names)
    if not ordered:
        return {}
    with ThreadPoolExecutor(max_workers=min(threads, len(ordered)), thread_name_prefix="checksum") as pool:
        digests = pool.map(lambda name: digest_file(folder / name, sync=sync), ordered)
        return dict(zip(ordered, digests, strict=True))
