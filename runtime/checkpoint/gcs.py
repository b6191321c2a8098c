"""Google Cloud Storage, by google-cloud-storage."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from runtime.checkpoint.bandwidth import Bandwidth, Unlimited
from runtime.checkpoint.busy import unavailable
from runtime.checkpoint.checksum import Digest, Hasher
from runtime.checkpoint.gcs_session import Kept, Session
from runtime.checkpoint.jitter import keep_random_state
from runtime.checkpoint.objects import ObjectStore
from runtime.checkpoint.parts import PART_BYTES, Parts, sum_file
from runtime.checkpoint.refusal import missing_bucket, no_credentials, no_permission, package_missing, refused
from runtime.checkpoint.retry import again
from runtime.checkpoint.service import CONNECT_S, READ_S, Head, ReplacedError, ToldApart
from runtime.config.storage import Address

# A big file goes up in one session; this much of it is in memory, and is not sent again once it has arrived. A multiple of 256 KiB.
_CHUNK_BYTES = 16 << 20
# Characters of an answer that a message repeats.
_SAID = 300
_QUERY = re.compile(r"\?[^\s'\"]+=[^\s'\"]*")

Result = TypeVar("Result")


class GoogleStore(ObjectStore):
    """A bucket of Google Cloud Storage. Credentials are Google's application defaults."""

    def __init__(self, address: Address, bandwidth: Bandwidth | None = None) -> None:
        super().__init__(_Google(address), bandwidth or Unlimited())


class _Google(ToldApart):
    parallel = "gcs"
    span_bytes = most_span_bytes = PART_BYTES

    def __init__(self, address: Address) -> None:
        try:
            import google_crc32c
            import requests
            from google.cloud import storage
        except ImportError as error:
            raise package_missing(address, error, "google-cloud-storage>=3.2") from error
        self.address = address
        # Else the library asks for the bucket's place on the side, for traces that nobody reads and with a right that a run does not need.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        self._crc32c: Any = google_crc32c
        self._requests: Any = requests.Session()
        self._options: dict[str, Any] = {"timeout": (CONNECT_S, READ_S), "retry": None}
        with self._explained("", reading=True):
            # Objects need no project; without one named, the library asks for it in vain on machines that are not Google's.
            self._client: Any = storage.Client(project=os.environ.get("GOOGLE_CLOUD_PROJECT", "unused"))
            self._bucket: Any = self._client.bucket(address.bucket)
        keep_random_state("google", "urllib3")

    def head(self, name: str) -> Head | None:
        with self._explained(name, reading=True):
            blob = self._bucket.get_blob(name, **self._options)
        return None if blob is None else _head(blob)

    def get(self, head: Head, offset: int, count: int) -> Generator[bytes, None, None]:
        blob = self._bucket.blob(head.name, generation=int(head.version) if head.version else None)
        # All at once: piece by piece, the library takes eight kilobytes at a time.
        sink = _Sink()
        try:
            with self._explained(head.name, reading=True):
                blob.download_to_file(
                    sink, start=offset, end=offset + count - 1, raw_download=True, checksum=None, single_shot_download=True, **self._options
                )
        except FileNotFoundError as error:
            raise ReplacedError(*error.args) from error
        yield sink.content

    def put(self, name: str, content: bytes, *, create: bool, replaces: str | None, checksums: bool = False) -> None:
        # Always announced here.
        del checksums
        generation = 0 if create else int(replaces) if replaces is not None else None
        with self._explained(name):
            self._bucket.blob(name).upload_from_string(
                content, content_type="application/octet-stream", if_generation_match=generation, checksum="crc32c", **self._options
            )

    def send(self, name: str, source: Path, parts: Parts, *, checksums: bool) -> tuple[Digest, str | None]:
        # One session is one stream, so several files at once are what is parallel here; `parts` serves the way back.
        size = source.stat().st_size
        hasher, crc = Hasher(), self._crc32c.Checksum()
        with source.open("rb", buffering=0) as stream:
            if size <= PART_BYTES:
                content = stream.read()
                hasher.update(content)
                crc.update(content)
                again(lambda: self._put_whole(name, content, parts.bandwidth))
            elif not self._send_on(name, stream, size, parts.bandwidth, hasher, crc):
                # Another file of this size was on its way to this name. It is forgotten now.
                return self.send(name, source, parts, checksums=checksums)
        return hasher.digest(), b64encode(crc.digest()).decode() if checksums else None

    def _put_whole(self, name: str, content: bytes, bandwidth: Bandwidth) -> None:
        bandwidth.take(len(content))
        self.put(name, content, create=False, replaces=None)

    def _send_on(self, name: str, stream: Any, size: int, bandwidth: Bandwidth, hasher: Hasher, crc: Any) -> bool:
        """Sends a file by a session, an earlier one where one is remembered. False when that is gone, or was another file's."""
        kept = Kept.of(self.address.url_of(name), size)
        upload = _Upload(session=self._session(name, kept.url, size), there=kept.sent) if kept.url else self._begun(name, size)
        taken_up, offset = bool(kept.url), 0
        while content := stream.read(_CHUNK_BYTES):
            hasher.update(content)
            crc.update(content)
            if offset < size and not self._push(name, upload, memoryview(content)[: size - offset], offset, bandwidth):
                kept.forget()
                if taken_up:
                    return False
                raise ConnectionError(f"{self.address.url_of(name)}: the upload was called off by the store")
            offset += len(content)
            if offset == kept.sent and hasher.digest().checksum != kept.checksum:
                kept.forget()
                return False
            if offset > kept.sent:
                kept.note(upload.session.url, offset, hasher.digest().checksum)
        kept.forget()
        return True

    def _begun(self, name: str, size: int) -> _Upload:
        def begin() -> str:
            url: str = self._bucket.blob(name).create_resumable_upload_session(
                content_type="application/octet-stream", size=size, **self._options
            )
            return url

        return _Upload(session=self._session(name, again(lambda: self._ask(name, begin)), size), there=0)

    def _session(self, name: str, url: str, size: int) -> Session:
        def refused(answer: Any) -> Exception:
            return self._answer(answer.status_code, f"answer {answer.status_code}", answer.headers, name, reading=False)

        return Session(url=url, total=size, requests=self._requests, refused=refused)

    def _push(self, name: str, upload: _Upload, content: memoryview, offset: int, bandwidth: Bandwidth) -> bool:
        """Sends of `content`, which begins at `offset`, what has not arrived; after a failure the service is asked what has. False when the session is gone."""
        end, gone = offset + len(content), False

        def once() -> None:
            nonlocal gone
            there = upload.there if upload.there is not None else self._ask(name, upload.session.received)
            if there is not None and offset <= there < end:
                start, upload.there = there, None
                bandwidth.take(end - start)
                upload.unheard = end == upload.session.total
                there = self._ask(name, lambda: upload.session.push(content[start - offset :], start))
                upload.unheard = False
                if there == start:
                    raise ConnectionError(f"{self.address.url_of(name)} took nothing of what was sent")
            if there is None and upload.unheard:
                # Not every server remembers a session for who did not hear that it was complete. Whoever asked for the object compares what is there.
                there = end
            upload.there, gone = there, there is None or there < offset

        while not gone and (upload.there is None or upload.there < end):
            again(once)
        return not gone

    def sums(self, source: Path, *, checksums: bool) -> tuple[Digest, str | None]:
        crc = self._crc32c.Checksum()
        digest = sum_file(source, lambda content: crc.update(bytes(content)))
        return digest, b64encode(crc.digest()).decode() if checksums else None

    def copy(self, name: str, origin: Head, *, checksums: bool) -> None:
        """As Service.copy. What lies in the same place is copied at once; else piece by piece, as the service says."""
        del checksums
        source = self._bucket.blob(origin.name, generation=int(origin.version) if origin.version else None)
        token: str | None = None
        with self._explained(name, reading=True):
            while True:
                token, _, _ = self._bucket.blob(name).rewrite(source, token=token, **self._options)
                if token is None:
                    return

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        """Nothing: sessions end by themselves after a week and cost nothing."""

    def list(self, prefix: str) -> Iterator[Head]:
        for page in self._pages(prefix, "items(name,size,generation,crc32c,updated)"):
            yield from map(_head, page)

    def folders(self, prefix: str) -> Iterator[str]:
        for page in self._pages(prefix, "prefixes", delimiter="/"):
            yield from page.prefixes

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError), self._explained(name, reading=True):
            self._bucket.blob(name).delete(**self._options)

    def refuses_wrong_checksum(self, name: str) -> bool:
        """Yes: the service sums what it gets itself, always, and has no other kind of server."""
        del name
        return True

    def _pages(self, prefix: str, told: str, **options: str) -> Iterator[Any]:
        """A list page by page; `told` is what is asked for of what is found."""

        def page(token: str | None) -> tuple[Any, str | None]:
            with self._explained("", reading=True):
                found = self._client.list_blobs(
                    self._bucket, prefix=prefix or None, page_token=token, fields=f"{told},nextPageToken", **options, **self._options
                )
                return next(found.pages, None), found.next_page_token

        token: str | None = ""
        while token is not None:
            found, token = again(lambda after=token: page(after or None))  # type: ignore[misc]
            if found is not None:
                yield found

    def _ask(self, name: str, request: Callable[[], Result]) -> Result:
        with self._explained(name):
            return request()

    @contextmanager
    def _explained(self, name: str, *, reading: bool = False) -> Iterator[None]:
        """The errors a Service raises, for those of Google's libraries."""
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        from runtime.checkpoint.gcs_token import unanswered

        try:
            yield
        except exceptions.GoogleAPICallError as error:
            headers = getattr(error.response, "headers", None) or {}
            raise self._answer(int(error.code or 0), _said(error), headers, name, reading=reading) from error
        except InvalidResponse as error:
            status = int(getattr(error.response, "status_code", 0) or 0)
            headers = getattr(error.response, "headers", None) or {}
            raise self._answer(status, _said(error), headers, name, reading=reading) from error
        except (exceptions.RetryError, RequestException, DataCorruption, HTTPError) as error:
            # The address of a session is as good as a right to write.
            raise ConnectionError(f"{self.address.url_of(name)}: {_QUERY.sub('?…', str(error))}") from error
        except GoogleAuthError as error:
            raise unanswered(error, self.address) from error
        except (ConnectionError, TimeoutError, FileNotFoundError):
            raise
        except (exceptions.GoogleAPIError, ValueError) as error:
            raise refused(self.address, name, str(error)) from error

    def _answer(self, status: int, said: str, headers: Mapping[str, str], name: str, *, reading: bool) -> Exception:
        url = self.address.url_of(name)
        if status == 404:
            return FileNotFoundError(f"{url} is missing") if name and reading else missing_bucket(self.address)
        if status == 412:
            return ReplacedError(f"{url} was written by somebody else") if reading else FileExistsError(url)
        if status == 401:
            return no_credentials(self.address, "the store does not accept them (401)")
        if status == 403:
            # A right that is missing and a hold on the object have the same number.
            return no_permission(self.address, name, f"{status} {said}")
        # Less than 400: it was done, and the answer cannot be read. What was damaged on the way is told by its sum.
        if status >= 500 or status < 400 or status in (408, 429) or "doesn't match calculated" in said:
            return unavailable(f"{url}: {status}", headers)
        return refused(self.address, name, f"{status} {said}")


@dataclass(slots=True)
class _Sink:
    """A file for an answer that is written as a whole: nothing is copied."""

    content: bytes = b""

    def write(self, content: bytes) -> int:
        self.content += content
        return len(content)


@dataclass(slots=True, kw_only=True)
class _Upload:
    """An upload under way."""

    session: Session
    there: int | None
    """How many bytes have arrived; None while nobody knows."""
    unheard: bool = False
    """Whether the last of them were sent, and what became of it was not told."""


def _said(error: Any) -> str:
    """The store's own words, without the address that was asked."""
    with suppress(Exception):
        return str(error.response.json()["error"]["message"])[:_SAID]
    return next(iter(str(error).splitlines()), "")[:_SAID]


def _head(blob: Any) -> Head:
    return Head(
        name=blob.name,
        size=blob.size,
        version=str(blob.generation) if blob.generation else None,
        checksum=blob.crc32c,
        modified=blob.updated.timestamp() if blob.updated else None,
    )
