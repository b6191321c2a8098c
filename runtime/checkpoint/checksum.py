"""Checksums of files and streams: `xxh3_128:<32 hex digits>`, of more than 8 MiB `xxh3_128_8m:<32 hex digits>`.

xxh3 runs at memory speed, so hashing costs less than reading. It recognises damage, not an adversary who can also rewrite the manifest.
The second is the sum of the sums (16 bytes each, as xxHash writes them) of every 8 MiB, so that spans of a file can be summed beside each other, as they arrive.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

ALGORITHM = "xxh3_128"
LEAF_BYTES = 8 << 20
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
    """After an upload: nothing was sent, since the store made the object from one it had, or had it already."""


class Hasher:
    """Sums bytes as they pass by."""

    def __init__(self) -> None:
        self.size = 0
        self._leaf = xxhash.xxh3_128()
        self._left = LEAF_BYTES
        self._leaves = bytearray()

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add `chunk` to the sum."""
        rest = memoryview(chunk)
        while rest:
            if not self._left:
                self._leaves += self._leaf.digest()
                self._leaf.reset()
                self._left = LEAF_BYTES
            taken = rest[: self._left]
            self._leaf.update(taken)
            self._left -= len(taken)
            self.size += len(taken)
            rest = rest[len(taken) :]

    def join(self, following: Hasher) -> None:
        """Add what `following` has summed; what was added so far must end where a leaf does. Raises ValueError when it does not."""
        if self.size % LEAF_BYTES:
            raise ValueError(f"{self.size:,} bytes are no whole number of leaves")
        if self.size:
            self._leaves += self._leaf.digest()
        self._leaves += following._leaves
        self._leaf, self._left, self.size = following._leaf, following._left, self.size + following.size

    def digest(self) -> Digest:
        """Size and checksum of everything added so far."""
        if self.size <= LEAF_BYTES:
            return Digest(size=self.size, checksum=f"{ALGORITHM}:{self._leaf.hexdigest()}")
        leaves = xxhash.xxh3_128_hexdigest(self._leaves + self._leaf.digest())
        return Digest(size=self.size, checksum=f"{ALGORITHM}_8m:{leaves}")


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
