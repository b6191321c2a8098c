"""Big objects of S3, sent in parts: several at once, and not again after a failure or a restart what has arrived."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runtime.checkpoint.body import Body
from runtime.checkpoint.checksum import THREADS, Digest
from runtime.checkpoint.crc import Crc64, written
from runtime.checkpoint.parts import Parts
from runtime.checkpoint.retry import again
from runtime.checkpoint.service import Head

# Of a part, as long as an object has few enough: to make a request takes the library some milliseconds of the processor.
LEAST_BYTES = 16 << 20
_SUMS = ("ETag", "ChecksumCRC64NVME")


class UploadGoneError(ConnectionError):
    """The store knows of no such upload: it was called off, or put together."""


class Explained(Protocol):
    """Turns the library's errors into those of a Service while a block runs."""

    def __call__(self, name: str, *, reading: bool = False) -> AbstractContextManager[None]:
        """A block about the object `name`."""
        ...


class Multipart:
    """The multipart uploads of one object.

    An upload that fails in a way that may pass stays open, and the next one of the same object goes on with it: the store tells which parts it has, and
    each is compared with the file by its checksum before it is believed. So nothing has to be remembered here, and another process can go on too.
    """

    def __init__(self, client: Any, crc: Crc64, *, bucket: str, name: str, explained: Explained) -> None:
        self._client = client
        self._crc = crc
        self._where = {"Bucket": bucket, "Key": name}
        self._name = name
        self._explained = explained

    def send(self, source: Path, size: int, parts: Parts, *, checksums: bool) -> tuple[Digest, int | None]:
        """The digest of `source`, which the object holds now, and with `checksums` its CRC64NVME. Raises as a Service does."""
        upload, there = self._unfinished() or (self._begin(_asked(checksums)), {})

        def put(number: int, content: memoryview) -> _Part:
            # Each is summed once, here, beside the others; the library would do it again, and wrap what it sends.
            crc = self._crc.of(content) if checksums else None
            sums = {} if crc is None else {"ChecksumCRC64NVME": written(crc)}
            known = there.get(number + 1)
            answer = known if known is not None and _same(known, content, sums) else again(lambda: ask(number, content, sums))
            return _Part(entry={"PartNumber": number + 1, "ETag": answer["ETag"], **sums}, size=len(content), crc=crc)

        def ask(number: int, content: memoryview, sums: dict[str, str]) -> Any:
            parts.bandwidth.take(len(content))
            with self._explained(self._name):
                return self._client.upload_part(**self._where, **sums, UploadId=upload, PartNumber=number + 1, Body=Body(content))

        try:
            digest, done = parts.send(source, size, put, least=LEAST_BYTES)
            self._complete(upload, [part.entry for part in done])
        except OSError:
            raise
        except BaseException:
            # Parts that are never put together cost money until somebody finds them.
            self.abort(upload)
            raise
        return digest, self._crc.joined((part.crc, part.size) for part in done if part.crc is not None) if checksums else None

    def copy(self, origin: Head, step: int, *, checksums: bool) -> None:
        """Make the object from another one, in pieces of `step` bytes copied within the store."""
        upload = self._begin(_asked(checksums))
        source = {"Bucket": self._where["Bucket"], "Key": origin.name}
        same = {"CopySourceIfMatch": origin.version} if origin.version else {}

        def piece(number: int) -> dict[str, Any]:
            span = f"bytes={number * step}-{min(origin.size, (number + 1) * step) - 1}"
            with self._explained(self._name, reading=True):
                answer = self._client.upload_part_copy(
                    **self._where, **same, UploadId=upload, PartNumber=number + 1, CopySource=source, CopySourceRange=span
                )["CopyPartResult"]
            return {"PartNumber": number + 1, **{key: answer[key] for key in _SUMS if key in answer}}

        try:
            with ThreadPoolExecutor(THREADS, thread_name_prefix="s3-copy") as pool:
                done = list(pool.map(lambda number: again(lambda: piece(number)), range(-(-origin.size // step))))
            self._complete(upload, done, reading=True)
        except BaseException:
            self.abort(upload)
            raise

    def abort(self, upload: str) -> None:
        """Give an upload up. One that cannot be reached now is found by the next `drop_unfinished`."""
        with suppress(Exception):
            self._client.abort_multipart_upload(**self._where, UploadId=upload)

    def _begin(self, asked: dict[str, str]) -> str:
        def begin() -> str:
            with self._explained(self._name):
                upload: str = self._client.create_multipart_upload(**self._where, **asked)["UploadId"]
            return upload

        return again(begin)

    def _complete(self, upload: str, done: list[dict[str, Any]], *, reading: bool = False) -> None:
        asked = False

        def complete() -> None:
            nonlocal asked
            before, asked = asked, True
            try:
                with self._explained(self._name, reading=reading):
                    self._client.complete_multipart_upload(**self._where, UploadId=upload, MultipartUpload={"Parts": done})
            except UploadGoneError:
                # Not every server remembers for who did not hear that it was complete. Whoever asked for the object compares what is there.
                if not before:
                    raise

        again(complete)

    def _unfinished(self) -> tuple[str, dict[int, Any]] | None:
        """An upload of this object that was cut off, and its parts by number. Not every server can tell; then the upload begins anew."""
        with suppress(Exception):
            listed = self._client.list_multipart_uploads(Bucket=self._where["Bucket"], Prefix=self._name)
            for found in listed.get("Uploads", ()):
                if found["Key"] == self._name:
                    pages = self._client.get_paginator("list_parts").paginate(**self._where, UploadId=found["UploadId"])
                    return found["UploadId"], {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part that has arrived."""

    entry: dict[str, Any]
    size: int
    crc: int | None


def _asked(checksums: bool) -> dict[str, str]:
    return {"ChecksumAlgorithm": "CRC64NVME"} if checksums else {}


def _same(known: Any, content: memoryview, sums: dict[str, str]) -> bool:
    """Whether a part in the store is `content`: by its CRC, or by the MD5 that its ETag is where nothing encrypts it."""
    if known.get("Size") != len(content):
        return False
    if sums and "ChecksumCRC64NVME" in known:
        return bool(known["ChecksumCRC64NVME"] == sums["ChecksumCRC64NVME"])
    return bool(str(known.get("ETag", "")).strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest())
