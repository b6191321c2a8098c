"""An object service in memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from runtime.checkpoint.checksum import Digest, digest_bytes
from runtime.checkpoint.parts import PART_BYTES, Parts
from runtime.checkpoint.service import Head, ReplacedError
from runtime.config.storage import Address

PIECE_BYTES = PART_BYTES // 8


class Memory:
    """A service in memory, whose checksum is ours; `on` is called before each request. Its clock is `now`."""

    parallel = "memory"
    span_bytes = most_span_bytes = PART_BYTES

    def __init__(self, *, sums: bool = True, together: bool = True) -> None:
        self.address = Address(kind="s3", bucket="bucket", prefix="deep")
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.now = 1e9
        self.times: dict[str, float] = {}
        self._sums = sums
        self.on: Callable[[str], None] = lambda _request: None
        self.mangle: Callable[[bytes], bytes] = lambda content: content
        self.conditions = True
        self._together = together

    def head(self, name: str) -> Head | None:
        self.on("head")
        if name not in self.objects:
            return None
        version, content = self.objects[name]
        checksum = digest_bytes(content).checksum if self._sums else None
        return Head(name=name, size=len(content), version=str(version), checksum=checksum)

    def begin(self, name: str, count: int) -> tuple[Head, Generator[bytes, None, None] | None] | None:
        head = self.head(name)
        return None if head is None else (head, self.get(head, 0, min(count, head.size)) if self._together and head.size else None)

    def get(self, head: Head, offset: int, count: int) -> Generator[bytes, None, None]:
        self.on("get")
        version, content = self.objects[head.name]
        if str(version) != head.version:
            raise ReplacedError(head.name)
        for start in range(offset, offset + count, PIECE_BYTES):
            self.on("piece")
            yield content[start : min(start + PIECE_BYTES, offset + count)]

    def put(self, name: str, content: bytes, *, create: bool, replaces: str | None, checksums: bool = False) -> None:
        self.on(f"put {checksums}" if name.startswith("deep/run/") else "put")
        version = self.objects[name][0] if name in self.objects else 0
        if self.conditions and ((create and version) or (replaces is not None and replaces != str(version))):
            raise FileExistsError(name)
        self.objects[name] = (version + 1, content)
        self.times[name] = self.now

    def send(self, name: str, source: Path, parts: Parts, *, checksums: bool) -> tuple[Digest, str | None]:
        digest, contents = parts.send(source, source.stat().st_size, self._part)
        version = self.objects[name][0] if name in self.objects else 0
        self.objects[name] = (version + 1, self.mangle(b"".join(contents)))
        return digest, digest.checksum if checksums else None

    def sums(self, source: Path, *, checksums: bool) -> tuple[Digest, str | None]:
        digest = digest_bytes(source.read_bytes())
        return digest, digest.checksum if checksums else None

    def list(self, prefix: str) -> Iterator[Head]:
        self.on("list")
        for name in sorted(self.objects):
            if name.startswith(prefix):
                yield Head(name=name, size=len(self.objects[name][1]), modified=self.times.get(name))

    def folders(self, prefix: str) -> Iterator[str]:
        below = (name.removeprefix(prefix).partition("/") for name in sorted(self.objects) if name.startswith(prefix))
        # As of pages that do not know of one another.
        yield from (f"{prefix}{first}/" for first, slash, _ in below if slash)

    def delete(self, name: str) -> None:
        self.on("delete")
        self.objects.pop(name, None)

    def refuses_wrong_checksum(self, name: str) -> bool:
        self.on("announce")
        if not self._sums:
            self.put(name, b"wrong", create=False, replaces=None)
        return self._sums

    def _part(self, _number: int, content: memoryview) -> bytes:
        self.on("part")
        return bytes(content)
