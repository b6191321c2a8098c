"""What S3, Google Cloud Storage, Azure Blob and the Hub are asked for: the few requests in which object services differ."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.parts import Parts
from runtime.config.storage import Address

# Until a connection is made, and between two pieces of an answer, seconds.
CONNECT_S, READ_S = 10.0, 60.0

Pieces = Generator[bytes | memoryview, None, None]
"""Of a span, in order. The memory of one is the next one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a service tells of one object."""

    name: str
    size: int
    version: str | None = None
    checksum: str | None = None
    """The service's own checksum of the whole content, in its own writing."""
    modified: float | None = None


class ReplacedError(ConnectionError):
    """The version of an object that was being read is not there any more."""


class Service(Protocol):
    """One object service. Names are whole: the store's prefix is part of them.

    Raises FileNotFoundError for a missing object, FileExistsError for a condition that did not hold, ConnectionError for what may pass, UserError for
    what needs the user. What may pass is not repeated by the service or its library, which may draw its pauses from the generator that training draws
    from; only `send`, `list` and `folders` repeat their parts and pages, by `again`.
    """

    address: Address
    parallel: str
    """For the names of threads."""
    span_bytes: int
    """The least that one request for a file that goes to the disk asks for, whole leaves of its checksum."""
    most_span_bytes: int
    """And the most. A dozen are under way at once on a large machine: where the library holds an answer as a whole, that is memory."""

    def head(self, name: str) -> Head | None:
        """One object, None when it is missing."""
        ...

    def begin(self, name: str, count: int) -> tuple[Head, Pieces | None] | None:
        """One object, None when it is missing; with its first `count` bytes in pieces (fewer if it is smaller) where one request tells both."""
        ...

    def get(self, head: Head, offset: int, count: int) -> Pieces:
        """A span of the version that `head` told of, in pieces. ReplacedError when there is another one by now."""
        ...

    def put(self, name: str, content: bytes, *, create: bool, replaces: str | None, checksums: bool = False) -> None:
        """Write a small object, under at most one condition; with `checksums` it announces its own, which the service is known to compare."""
        ...

    def send(self, name: str, source: Path, parts: Parts, *, checksums: bool) -> tuple[Digest, str | None]:
        """Write a file; its digest, and what `Head.checksum` must be then. None when the service is not known to compute one.

        `parts.bandwidth` is asked before bytes leave. What a cut-off call has sent of a big file is not sent again, where the service keeps it.
        """
        ...

    def copy(self, name: str, origin: Head, *, checksums: bool) -> None:
        """Have the service make `name` from the version that `origin` tells of, with a checksum of its own; nothing is sent."""
        ...

    def sums(self, source: Path, *, checksums: bool) -> tuple[Digest, str | None]:
        """As `send` returns, without sending."""
        ...

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        """Call off the uploads of names that begin with `prefix` and that `dropped` takes, where they would lie about for ever."""
        ...

    def list(self, prefix: str) -> Iterator[Head]:
        """Objects whose name begins with `prefix`, in order."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The different beginnings, up to the next slash and with it, of names that begin with `prefix` and have a slash after it."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; a missing one is fine."""
        ...

    def refuses_wrong_checksum(self, name: str) -> bool:
        """Whether a small object announced with a checksum that is not its own is turned away; checksums it tells can be believed then."""
        ...


class ToldApart:
    """For services whose libraries tell of an object apart from its content."""

    def begin(self: Service, name: str, count: int) -> tuple[Head, None] | None:
        """As Service.begin."""
        del count
        head = self.head(name)
        return None if head is None else (head, None)
