"""A bucket as a store: what S3, Google Cloud Storage and Azure Blob have in common, over the few requests in which they differ."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from runtime.checkpoint.checksum import Digest, Hasher
from runtime.checkpoint.disk import disk_error
from runtime.checkpoint.jitter import Jitter
from runtime.checkpoint.manifest import check_relative
from runtime.checkpoint.parts import Parts
from runtime.checkpoint.patience import passes
from runtime.checkpoint.refusal import is_plain_refusal
from runtime.checkpoint.store import Capabilities, Stat
from runtime.config.problem import UserError
from runtime.config.storage import Address

Result = TypeVar("Result")

# Of one part: an object of many gigabytes must not be begun again because one of its parts did not arrive.
_ATTEMPTS = 4
# Objects of the probe. Below the store's prefix, so that it needs no other permission than the run does.
_PROBE = ".probe"


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
    what needs the user. The service's library repeats requests that fail in a way that may pass, with jitter.
    """

    address: Address
    parallel: str
    """For the names of threads."""

    def head(self, name: str) -> Head | None:
        """One object, None when it is missing."""
        ...

    def get(self, head: Head, offset: int, count: int) -> bytes:
        """A part of the version that `head` told of. ReplacedError when there is another one by now."""
        ...

    def put(self, name: str, content: bytes, *, create: bool, replaces: str | None) -> None:
        """Write a small object, under at most one condition."""
        ...

    def send(self, name: str, source: Path, parts: Parts, *, checksums: bool) -> tuple[Digest, str | None]:
        """Write a file; its digest, and what `Head.checksum` must be then. None when the service is not known to compute one."""
        ...

    def list(self, prefix: str) -> Iterator[Head]:
        """Objects whose name begins with `prefix`, in order."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; a missing one is fine."""
        ...

    def refuses_wrong_checksum(self, name: str) -> bool:
        """Whether a small object announced with a checksum that is not its own is turned away; checksums it tells can be believed then."""
        ...


class ObjectStore:
    """Objects below a prefix of a bucket, as a Store."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._address = service.address
        self._parts = Parts(service.parallel)
        self._probing = threading.Lock()
        self._found: Capabilities | None = None

    @property
    def capabilities(self) -> Capabilities:
        """As Store.capabilities. The first use writes some small objects and removes them."""
        with self._probing:
            if self._found is None:
                self._found = self._probe()
            return self._found

    def put_file(self, key: str, source: Path) -> Digest:
        """As Store.put_file. Raises ConnectionError when the store turns out to hold something else; that is removed."""
        name = self._name(key)
        checksums = self.capabilities.checksums
        try:
            digest, expected = self._service.send(name, source, self._parts, checksums=checksums)
        except (FileNotFoundError, FileExistsError, ConnectionError, TimeoutError):
            raise
        except OSError as error:
            raise disk_error(error, source) from error
        head = again(lambda: self._service.head(name))
        if head is None:
            raise ConnectionError(f"{self.url(key)} was sent and is not there")
        known = expected is not None and head.checksum is not None
        if head.size != digest.size or (known and head.checksum != expected):
            self._service.delete(name)
            raise ConnectionError(f"{self.url(key)} differs from what was sent ({head.size:,} of {digest.size:,} bytes)")
        return Digest(size=digest.size, checksum=digest.checksum, confirmed=known)

    def put_bytes(self, key: str, content: bytes, *, create: bool = False, replaces: str | None = None) -> None:
        """As Store.put_bytes."""
        name = self._name(key)
        if create and not self.capabilities.conditional_put:
            raise ValueError(f"{self.url()} cannot create conditionally")
        if replaces is not None and not self.capabilities.conditional_replace:
            raise ValueError(f"{self.url()} cannot replace conditionally")
        again(lambda: self._service.put(name, content, create=create, replaces=replaces))

    def get_file(self, key: str, target: Path) -> Digest:
        """As Store.get_file. Several parts are fetched at once, all of one version."""
        contents = self.read(key)
        # Asked for before the file is made: a missing object leaves nothing behind.
        content = next(contents, None)
        hasher = Hasher()
        with closing(contents), target.open("xb", buffering=0) as stream:
            while content is not None:
                hasher.update(content)
                left = memoryview(content)
                while left:
                    left = left[stream.write(left) :]
                content = next(contents, None)
            os.fsync(stream.fileno())
        return hasher.digest()

    def read(self, key: str) -> Generator[bytes, None, None]:
        """As Store.read. One version is read from its beginning to its end; a replaced one is begun again as long as nothing was handed out."""
        name, handed_out = self._name(key), False
        for left in reversed(range(_ATTEMPTS)):
            head = self._service.head(name)
            if head is None:
                raise FileNotFoundError(f"{self.url(key)} is missing")
            with closing(self._content(head)) as contents:
                try:
                    for content in contents:
                        handed_out = True
                        yield content
                except ReplacedError:
                    if handed_out or not left:
                        raise
                    continue
            return

    def list(self, prefix: str) -> Iterator[Stat]:
        """As Store.list."""
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"a prefix ends in a slash: {prefix!r}")
        start = f"{self._address.prefix}/" if self._address.prefix else ""
        for head in self._service.list(start + prefix):
            key = head.name.removeprefix(start)
            # Consoles make empty objects that end in a slash to show folders; they are no keys.
            if not key.endswith("/") and not key.startswith(f"{_PROBE}/"):
                yield Stat(key=key, size=head.size, modified=head.modified)

    def stat(self, key: str) -> Stat | None:
        """As Store.stat; `version` is told where replacing it can be made conditional on it."""
        head = self._service.head(self._name(key))
        return None if head is None else Stat(key=key, size=head.size, modified=head.modified, version=head.version)

    def delete(self, key: str) -> None:
        """As Store.delete."""
        self._service.delete(self._name(key))

    def url(self, key: str = "") -> str:
        """As Store.url."""
        return self._address.url(key)

    def _name(self, key: str) -> str:
        if check_relative(key).split("/")[0] == _PROBE:
            raise ValueError(f"{key!r} is a reserved path")
        return self._below(key)

    def _below(self, key: str) -> str:
        return f"{self._address.prefix}/{key}" if self._address.prefix else key

    def _content(self, head: Head) -> Generator[bytes, None, None]:
        def get(offset: int, count: int) -> bytes:
            content = self._service.get(head, offset, count)
            if len(content) != count:
                raise ConnectionError(f"{len(content):,} of {count:,} bytes of {head.name} arrived")
            return content

        return self._parts.fetch(head.size, lambda offset, count: again(lambda: get(offset, count)))

    def _probe(self) -> Capabilities:
        """What the store honours, found by trying each on an object of its own. Raises as every request does."""
        name, wrong = (self._below(f"{_PROBE}/{secrets.token_hex(8)}-{what}") for what in ("condition", "checksum"))
        try:
            # The name is new, so a first write that is refused was sent twice by the library: the second met the first, which is an answer too.
            creates = (
                _try(lambda: self._service.put(name, b"1", create=True, replaces=None)) != "error"
                and _try(lambda: self._service.put(name, b"2", create=True, replaces=None)) == "refused"
            )
            replaces = creates and self._replaces(name)
            return Capabilities(
                conditional_put=creates, conditional_replace=replaces, checksums=self._service.refuses_wrong_checksum(wrong)
            )
        finally:
            for probe in (name, wrong):
                with suppress(OSError, UserError):
                    self._service.delete(probe)

    def _replaces(self, name: str) -> bool:
        first = self._service.head(name)
        if first is None or first.version is None:
            return False
        return (
            _try(lambda: self._service.put(name, b"33", create=False, replaces=first.version)) == "done"
            and _try(lambda: self._service.put(name, b"444", create=False, replaces=first.version)) == "refused"
        )


def _try(put: Callable[[], None]) -> Literal["done", "refused", "error"]:
    try:
        put()
    except FileExistsError:
        return "refused"
    except UserError as error:
        # Some servers answer a condition they do not know with an error, which is as good as ignoring it.
        if not is_plain_refusal(error):
            raise
        return "error"
    return "done"


def again(ask: Callable[[], Result]) -> Result:
    """What one request returns, sent up to four times with pauses between while it fails in a way that may pass; the last failure otherwise."""
    retrying = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=0.1, max=9) + Jitter(1),
        retry=retry_if_exception(lambda error: passes(error) and not isinstance(error, ReplacedError)),
        reraise=True,
    )
    return retrying(ask)
