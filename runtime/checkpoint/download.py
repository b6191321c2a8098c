"""An object on its way here."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.parts import Parts
from runtime.checkpoint.retry import again
from runtime.checkpoint.service import Pieces, ReplacedError, Service
from runtime.checkpoint.span import Write, span_bytes
from runtime.checkpoint.transit import Arrived


class Download:
    """One version of an object, asked for in spans; what has arrived when an answer breaks off is not asked for again."""

    def __init__(self, service: Service, name: str, first_bytes: int) -> None:
        """Asks for the object, and for its first bytes: no more than the first span has. Raises FileNotFoundError when it is missing, else as Service.begin."""
        begun = again(lambda: service.begin(name, first_bytes))
        if begun is None:
            raise FileNotFoundError(name)
        self._head, self._first = begun
        self._service = service

    def into(self, descriptor: int, parts: Parts, arrived: Arrived) -> Digest:
        """The digest of the object, which the empty open file `descriptor` holds now; `arrived` is told of each piece.

        Raises as Service.get, and OSError from the disk.
        """
        size = self._head.size
        return parts.place(descriptor, size, span_bytes(size, self._service.span_bytes, self._service.most_span_bytes), self._span, arrived)

    def contents(self, parts: Parts) -> Generator[bytes, None, None]:
        """The object in order, in chunks of bounded size. Raises as Service.get."""

        def get(offset: int, count: int) -> bytes:
            pieces: list[bytes] = []
            self._span(offset, count, lambda _offset, piece: pieces.append(bytes(piece)))
            return b"".join(pieces)

        return parts.fetch(self._head.size, get)

    def _span(self, offset: int, count: int, write: Write) -> None:
        """Has `count` bytes of the object from `offset` on written."""
        end = offset + count

        def ask() -> None:
            nonlocal offset
            start = offset
            try:
                with closing(self._pieces(start, end - start)) as pieces:
                    for piece in pieces:
                        if offset + len(piece) > end:
                            offset = start
                            raise ConnectionError(f"more than the {count:,} bytes asked for of {self._head.name} arrived")
                        write(offset, piece)
                        offset += len(piece)
                if offset == start:
                    raise ConnectionError(f"nothing of {self._head.name} arrived")
            except ConnectionError as error:
                # Who brings something is asked for the rest at once, however often that breaks off.
                if offset == start or isinstance(error, ReplacedError):
                    raise

        while offset < end:
            again(ask)

    def _pieces(self, offset: int, count: int) -> Pieces:
        if not offset and self._first is not None:
            first, self._first = self._first, None
            return first
        return self._service.get(self._head, offset, count)
