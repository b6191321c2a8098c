"""A resumable upload to Google Cloud Storage: one file in one session, which another process of this machine can go on with."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from runtime.checkpoint.service import CONNECT_S, READ_S

# A session that nobody ends is gone after a week (cloud.google.com/storage/docs/resumable-uploads, 2026-11-22).
_KEPT_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An upload that the service knows by `url`, which needs no other right than to be known.

    `requests` is a session of that library; `refused` makes an error of an answer that is none of the protocol's. Raises as `requests` does.
    """

    url: str
    total: int
    """Bytes of the file."""
    requests: Any
    refused: Callable[[Any], Exception]

    def received(self) -> int | None:
        """How many bytes have arrived, `total` once the object is there; None where the service knows of no such session."""
        return self._after(self._put(b"", "bytes */*"))

    def push(self, content: memoryview, offset: int) -> int | None:
        """Send the file's bytes from `offset` on; returns as `received`."""
        return self._after(self._put(content, f"bytes {offset}-{offset + len(content) - 1}/{self.total}"))

    def _put(self, content: bytes | memoryview, span: str) -> Any:
        # The answer that asks for more is one that means "elsewhere" in other protocols.
        return self.requests.put(
            self.url, data=content, headers={"Content-Range": span}, timeout=(CONNECT_S, READ_S), allow_redirects=False
        )

    def _after(self, answer: Any) -> int | None:
        if answer.status_code == 308:
            said = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
            return int(said[1]) + 1 if said else 0
        if answer.status_code in (200, 201):
            return self.total
        if answer.status_code in (404, 410):
            return None
        raise self.refused(answer)


@dataclass(slots=True, kw_only=True)
class Kept:
    """What is remembered of an upload on this machine's disk: a restart goes on with it. Where the disk refuses, everything is sent again."""

    path: Path
    url: str = ""
    sent: int = 0
    checksum: str = ""
    """Of the file's first `sent` bytes, by which it is known to be the same one."""

    @classmethod
    def of(cls, address: str, size: int) -> Kept:
        """What is remembered of the upload of a file of `size` bytes to `address`."""
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune-launcher" / "uploads"
        kept = cls(path=folder / xxhash.xxh3_128_hexdigest(f"{address} {size}".encode()))
        with suppress(OSError, ValueError, KeyError, TypeError):
            if time.time() - kept.path.stat().st_mtime < _KEPT_S:
                said = json.loads(kept.path.read_text(encoding="utf-8"))
                kept.url, kept.sent, kept.checksum = str(said["url"]), int(said["sent"]), str(said["checksum"])
        return kept

    def note(self, url: str, sent: int, checksum: str) -> None:
        """Remember this."""
        self.url, self.sent, self.checksum = url, sent, checksum
        partial = self.path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Who knows the address can write the object, so nobody else may read it.
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
                json.dump({"url": url, "sent": sent, "checksum": checksum}, stream)
            partial.replace(self.path)

    def forget(self) -> None:
        """The upload has ended; those that nobody ended go as well."""
        self.url, self.sent, self.checksum = "", 0, ""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            for other in self.path.parent.iterdir():
                if time.time() - other.stat().st_mtime > _KEPT_S:
                    other.unlink(missing_ok=True)
