"""CRC64NVME, which S3 tells of a whole object however it was sent."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any


class Crc64:
    """By Amazon's library. Raises ImportError when that is not installed, or too old to join sums."""

    def __init__(self) -> None:
        from awscrt.checksums import combine_crc64nvme, crc64nvme

        self._sum: Any = crc64nvme
        self._join: Any = combine_crc64nvme

    def of(self, content: bytes | bytearray | memoryview, before: int = 0) -> int:
        """The sum of `content`, or of what sums to `before` and `content` after it."""
        total: int = self._sum(content, before)
        return total

    def joined(self, parts: Iterable[tuple[int, int]]) -> int:
        """The sum of parts, in order, each given by its sum and how many bytes it has."""
        total = 0
        for crc, size in parts:
            total = self._join(total, crc, size)
        return total


def written(crc: int) -> str:
    """A sum as S3 writes it."""
    return b64encode(crc.to_bytes(8, "big")).decode()
