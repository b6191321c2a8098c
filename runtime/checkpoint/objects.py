"""A bucket as a store: what S3, Google Cloud Storage and Azure Blob have in common, over the few requests in which they differ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

from runtime.checkpoint.bandwidth import Bandwidth
from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.disk import disk_error
from runtime.checkpoint.download import Download
from runtime.checkpoint.manifest import check_relative
from runtime.checkpoint.parts import PART_BYTES, Parts
from runtime.checkpoint.probe import probe
from runtime.checkpoint.retry import ATTEMPTS, again
from runtime.checkpoint.service import Head, ReplacedError, Service
from runtime.checkpoint.store import Capabilities, Stat, check_prefix, is_key
from runtime.checkpoint.transit import Arrived, nobody
from runtime.config.problem import UserError

# Objects of the probe. Below the store's prefix, so that it needs no other permission than the run does.
_PROBE = ".probe"


class ObjectStore:
    """Objects below a prefix of a bucket, as a Store."""

    def __init__(self, service: Service, bandwidth: Bandwidth) -> None:
        self._service = service
        self._address = service.address
        self._parts = Parts(service.parallel, bandwidth)
        self._copies = True
        self._probing = threading.Lock()
        self._found: Capabilities | None = None

    @property
    def capabilities(self) -> Capabilities:
        """As Store.capabilities. The first use writes some small objects and removes them."""
        with self._probing:
            if self._found is None:
                self._found = self._probe()
            return self._found

    def put_file(self, key: str, source: Path, *, origin: str | None = None) -> Digest:
        """As Store.put_file. Raises ConnectionError when the store turns out to hold something else; that is removed."""
        name = self._name(key)
        if origin is not None and self._copies and (copied := self._copy(name, source, self._name(origin))) is not None:
            return copied
        checksums = self.capabilities.checksums
        try:
            if (sent := self._sent_before(name, source)) is not None:
                return sent
            digest, expected = self._service.send(name, source, self._parts, checksums=checksums)
        except (FileNotFoundError, FileExistsError, ConnectionError, TimeoutError):
            raise
        except OSError as error:
            raise disk_error(error, source) from error
        head = again(lambda: self._arrived(key))
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
        checksums = self._found is not None and self._found.checksums
        again(lambda: self._service.put(name, content, create=create, replaces=replaces, checksums=checksums))

    def get_file(self, key: str, target: Path, *, arrived: Arrived = nobody) -> Digest:
        """As Store.get_file. Several spans are fetched at once, all of one version."""
        # Asked for before the file is made: a missing object leaves nothing behind.
        download = self._download(key, self._service.span_bytes)
        with target.open("x+b", buffering=0) as stream:
            for left in reversed(range(ATTEMPTS)):
                try:
                    return download.into(stream.fileno(), self._parts, arrived)
                except ReplacedError:
                    if not left:
                        raise
                    stream.truncate(0)
                    download = self._download(key, self._service.span_bytes)
        raise AssertionError("the last attempt returns or raises")

    def read(self, key: str) -> Generator[bytes, None, None]:
        """As Store.read. One version is read from its beginning to its end; a replaced one is begun again as long as nothing was handed out."""
        handed_out = False
        for left in reversed(range(ATTEMPTS)):
            with closing(self._download(key, PART_BYTES).contents(self._parts)) as contents:
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
        start = self._below("")
        for head in self._service.list(start + check_prefix(prefix)):
            key = head.name.removeprefix(start)
            # Consoles make empty objects that end in a slash to show folders; they are no keys.
            if not key.endswith("/") and not key.startswith(f"{_PROBE}/"):
                yield Stat(key=key, size=head.size, modified=head.modified)

    def folders(self, prefix: str) -> Iterator[str]:
        """As Store.folders."""
        start, told = self._below(check_prefix(prefix)), set[str]()
        for found in self._service.folders(start):
            name = found.removeprefix(start).removesuffix("/")
            if name not in told and is_key(prefix + name) and (prefix or name != _PROBE):
                # Not every server remembers from one page to the next what it has told.
                told.add(name)
                yield name

    def stat(self, key: str) -> Stat | None:
        """As Store.stat; `version` is told where replacing it can be made conditional on it."""
        name = self._name(key)
        head = again(lambda: self._service.head(name))
        return None if head is None else Stat(key=key, size=head.size, modified=head.modified, version=head.version)

    def delete(self, key: str) -> None:
        """As Store.delete."""
        name = self._name(key)
        again(lambda: self._service.delete(name))

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        """As Store.drop_unfinished."""
        start = self._below("")
        self._service.drop_unfinished(start + prefix, lambda name: dropped(name.removeprefix(start)))

    def url(self, key: str = "") -> str:
        """As Store.url."""
        return self._address.url(key)

    def _copy(self, name: str, source: Path, origin: str) -> Digest | None:
        """The digest of `source`, which `name` holds now without having been sent; None when it must be sent after all.

        The store's copy is compared with the local file, not with the object it was made from, so that damage there is not handed on.
        """
        checksums = self.capabilities.checksums
        try:
            head = again(lambda: self._service.head(origin))
            if head is None or head.size != source.stat().st_size:
                return None
            digest, expected = self._service.sums(source, checksums=checksums)
            if expected is not None and head.checksum not in (None, expected):
                return None
            again(lambda: self._service.copy(name, head, checksums=checksums))
            made = again(lambda: self._service.head(name))
        except UserError:
            # Not every store copies, or lets these credentials do it. Whether it takes files at all is told by sending one.
            self._copies = False
            return None
        except OSError:
            return None
        if made is None or made.size != digest.size or (expected is not None and made.checksum not in (None, expected)):
            return None
        return Digest(size=digest.size, checksum=digest.checksum, confirmed=expected is not None and made.checksum is not None, copied=True)

    def _sent_before(self, name: str, source: Path) -> Digest | None:
        """The digest of a big file that is there already, by the store's own sum: an earlier call has sent it, and it or its process ended before it knew."""
        size, can = source.stat().st_size, self.capabilities
        # Where changes are commits, what is there is known by its content anyhow.
        head = again(lambda: self._service.head(name)) if size > PART_BYTES and can.checksums and not can.commits else None
        if head is None or head.size != size or head.checksum is None:
            return None
        digest, expected = self._service.sums(source, checksums=True)
        return Digest(size=digest.size, checksum=digest.checksum, confirmed=True, copied=True) if head.checksum == expected else None

    def _arrived(self, key: str) -> Head:
        """What is told of an object that was written just now, which some stores do not know of at once."""
        head = self._service.head(self._name(key))
        if head is None:
            raise ConnectionError(f"{self.url(key)} was sent and is not there")
        return head

    def _name(self, key: str) -> str:
        if check_relative(key).split("/")[0] == _PROBE:
            raise ValueError(f"{key!r} is a reserved path")
        return self._below(key)

    def _below(self, key: str) -> str:
        return f"{self._address.prefix}/{key}" if self._address.prefix else key

    def _download(self, key: str, first_bytes: int) -> Download:
        try:
            return Download(self._service, self._name(key), first_bytes)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.url(key)} is missing") from error

    def _probe(self) -> Capabilities:
        return probe(self._service, self._below(_PROBE))
