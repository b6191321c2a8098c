"""Text that remembers which message it came from, so that a rendered conversation can be masked without rendering it again.

A chat template cuts, trims and joins the texts it is given. `Traced` behaves as the string it is and carries its origin through these operations.
Operations that are not overridden return plain text: the origin is then lost, never wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, SupportsIndex


class Piece(NamedTuple):
    """Characters `start` to `stop` of a text that were characters `origin` and on of `part` of message `message`."""

    start: int
    stop: int
    message: int
    part: str
    origin: int


class Traced(str):
    """A string with the pieces it is made of, in order."""

    __slots__ = ("pieces",)
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, text: str, message: int, part: str) -> Traced:
        """The whole `text`, as the `part` (content, reasoning, …) of message number `message`."""
        return cls._made(text, (Piece(0, len(text), message, part, 0),) if text else ())

    @classmethod
    def _made(cls, text: str, pieces: tuple[Piece, ...]) -> Traced:
        traced = cls(text)
        traced.pieces = pieces
        return traced

    # jinja calls str() on what it prints, and str() of a subclass copies it into plain text unless told otherwise.
    def __str__(self) -> str:
        return self

    def __getnewargs__(self) -> tuple[str]:
        return (str.__str__(self),)

    def __add__(self, other: str) -> str:
        return joined((self, other))

    def __radd__(self, other: str) -> str:
        return joined((other, self))

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        start, stop, step = key.indices(len(self)) if isinstance(key, slice) else (int(key), int(key) + 1, 1)
        if step != 1 or start < 0:
            return str.__getitem__(self, key)
        return self._cut(start, max(start, stop))

    def strip(self, chars: str | None = None, /) -> str:
        return self.lstrip(chars).rstrip(chars)

    def lstrip(self, chars: str | None = None, /) -> str:
        return self._cut(len(self) - len(str.lstrip(self, chars)), len(self))

    def rstrip(self, chars: str | None = None, /) -> str:
        return self._cut(0, len(str.rstrip(self, chars)))

    def removeprefix(self, prefix: str, /) -> str:
        return self._cut(len(prefix), len(self)) if self.startswith(prefix) else self

    def removesuffix(self, suffix: str, /) -> str:
        return self._cut(0, len(self) - len(suffix)) if suffix and self.endswith(suffix) else self

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._located(str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._located(str.rsplit(self, sep, maxsplit), sep)

    def splitlines(self, keepends: bool = False) -> list[str]:
        return self._located(str.splitlines(self, keepends), None)

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        head, found, _ = str.partition(self, sep)
        return self._cut(0, len(head)), found, self._cut(len(head) + len(found), len(self))

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        head, found, _ = str.rpartition(self, sep)
        return self._cut(0, len(head)), found, self._cut(len(head) + len(found), len(self))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        if not old or old not in self:
            return self
        kept = self.split(old, count)
        return joined(part for index, text in enumerate(kept) for part in ((new, text) if index else (text,)))

    def _cut(self, start: int, stop: int) -> str:
        if start == 0 and stop >= len(self):
            return self
        pieces = tuple(
            Piece(
                max(piece.start, start) - start,
                min(piece.stop, stop) - start,
                piece.message,
                piece.part,
                piece.origin + max(0, start - piece.start),
            )
            for piece in self.pieces
            if max(piece.start, start) < min(piece.stop, stop)
        )
        return Traced._made(str.__getitem__(self, slice(start, stop)), pieces)

    def _located(self, parts: list[str], sep: str | None) -> list[str]:
        found: list[str] = []
        position = 0
        for part in parts:
            position = str.find(self, part, position)
            found.append(self._cut(position, position + len(part)))
            position += len(part) + (len(sep) if sep else 0)
        return found


def joined(parts: Iterable[str]) -> str:
    """The parts in one text, `Traced` when any of them is."""
    texts = list(parts)
    pieces: list[Piece] = []
    offset = 0
    for text in texts:
        if isinstance(text, Traced):
            pieces.extend(piece._replace(start=piece.start + offset, stop=piece.stop + offset) for piece in text.pieces)
        offset += len(text)
    whole = "".join(texts)
    return Traced._made(whole, tuple(pieces)) if pieces else whole
