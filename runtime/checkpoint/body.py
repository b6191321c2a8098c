"""The body of a request."""

from __future__ import annotations

import os


class Body:
    """Memory as a file that is read: the pieces are parts of it, so nothing is copied on the way to the network. Not every library does so with bytes."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._at = 0

    def __len__(self) -> int:
        return len(self._content)

    def read(self, count: int | None = -1) -> memoryview:
        """The next `count` bytes, or all that are left."""
        end = len(self) if count is None or count < 0 else self._at + count
        piece = self._content[self._at : end]
        self._at += len(piece)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on reading there; where that is, from the beginning."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: len(self)}[whence]
        self._at = min(max(start + offset, 0), len(self))
        return self._at

    def tell(self) -> int:
        """How much has been read."""
        return self._at
