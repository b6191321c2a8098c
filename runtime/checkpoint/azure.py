"""Azure Blob Storage, by azure-storage-blob."""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import xxhash

from runtime.checkpoint.azure_account import open_account
from runtime.checkpoint.azure_answer import answered
from runtime.checkpoint.bandwidth import Bandwidth, Unlimited
from runtime.checkpoint.body import Body
from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.jitter import keep_random_state
from runtime.checkpoint.objects import ObjectStore
from runtime.checkpoint.parts import PART_BYTES, Parts, sum_file
from runtime.checkpoint.refusal import no_credentials, refused
from runtime.checkpoint.retry import again
from runtime.checkpoint.service import Head, ToldApart
from runtime.config.problem import UserError
from runtime.config.storage import Address

# How often a copy that is not done at once is looked at, and after how long the file is sent instead, seconds.
_POLL_S, _COPY_S = 0.5, 600.0


class AzureStore(ObjectStore):
    """A container of Azure Blob. Credentials come from the environment: a connection string, or an account with its key, a SAS token or an identity."""

    def __init__(self, address: Address, bandwidth: Bandwidth | None = None) -> None:
        super().__init__(_Azure(address), bandwidth or Unlimited())


class _Azure(ToldApart):
    parallel = "azure"
    span_bytes = most_span_bytes = PART_BYTES

    def __init__(self, address: Address) -> None:
        self.address = address
        service, self._by_identity = open_account(address)
        from azure.core import MatchConditions
        from azure.storage.blob import BlobBlock

        self._same: Any = MatchConditions.IfNotModified
        self._block: Any = BlobBlock
        self._container: Any = service.get_container_client(address.bucket)
        keep_random_state("azure", "msal", "urllib3")

    def head(self, name: str) -> Head | None:
        try:
            with self._explained(name, reading=True):
                found = self._container.get_blob_client(name).get_blob_properties()
        except FileNotFoundError:
            return None
        return _head(found)

    def get(self, head: Head, offset: int, count: int) -> Generator[bytes, None, None]:
        with self._explained(head.name, reading=True):
            stream = self._container.get_blob_client(head.name).download_blob(
                offset=offset, length=count, etag=head.version, match_condition=self._same, max_concurrency=1
            )
            # Piece by piece: all at once, the library holds it twice.
            yield from stream.chunks()

    def put(self, name: str, content: bytes, *, create: bool, replaces: str | None, checksums: bool = False) -> None:
        del checksums
        condition = {"etag": replaces, "match_condition": self._same} if replaces is not None else {}
        with self._explained(name, replacing=replaces is not None):
            self._container.get_blob_client(name).upload_blob(content, overwrite=not create, **condition)

    def send(self, name: str, source: Path, parts: Parts, *, checksums: bool) -> tuple[Digest, str | None]:
        # The service sums single puts only, not what is put together from blocks, so nothing is confirmed and all is read back.
        del checksums
        blob = self._container.get_blob_client(name)
        size = source.stat().st_size
        there = self._staged(blob) if size > PART_BYTES else frozenset()

        def stage(block: str, content: memoryview) -> None:
            parts.bandwidth.take(len(content))
            with self._explained(name):
                blob.stage_block(b64encode(block.encode()).decode(), Body(content), length=len(content))

        def put(number: int, content: memoryview) -> Any:
            # The name tells the content, so what a cut-off upload has staged is known again.
            block = f"{number:06d}-{xxhash.xxh3_128_hexdigest(content)}"
            if content and block not in there:
                again(lambda: stage(block, content))
            return self._block(block_id=b64encode(block.encode()).decode()) if content else None

        digest, blocks = parts.send(source, size, put)

        def commit() -> None:
            with self._explained(name):
                blob.commit_block_list([block for block in blocks if block is not None])

        again(commit)
        return digest, None

    def sums(self, source: Path, *, checksums: bool) -> tuple[Digest, str | None]:
        del checksums
        return sum_file(source, lambda _content: None), None

    def copy(self, name: str, origin: Head, *, checksums: bool) -> None:
        """As Service.copy. Within one account that is done at once, as a rule; where it is not, it is waited for."""
        del checksums
        blob, source = self._container.get_blob_client(name), self._container.get_blob_client(origin.name)
        with self._explained(name, reading=True):
            # The address of the source holds the token, where one signs.
            begun = blob.start_copy_from_url(source.url, source_etag=origin.version, source_match_condition=self._same)
            status, left = begun["copy_status"], int(_COPY_S / _POLL_S)
            while status == "pending" and left:
                time.sleep(_POLL_S)
                status, left = blob.get_blob_properties().copy.status, left - 1
            if status == "pending":
                # Until then nothing else could be written there.
                blob.abort_copy(begun["copy_id"])
                raise refused(self.address, name, f"a copy within the account took more than {_COPY_S:.0f} seconds")
        if status != "success":
            raise ConnectionError(f"{self.address.url_of(name)}: the copy ended with {status!r}")

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        """Nothing: blocks that no blob is made of are gone after a week, and are not charged for longer."""

    def list(self, prefix: str) -> Iterator[Head]:
        found = self._listed(lambda: self._container.list_blobs(name_starts_with=prefix or None, include=["metadata"]))
        return (_head(blob) for blob in found if not _is_folder(blob))

    def folders(self, prefix: str) -> Iterator[str]:
        from azure.storage.blob import BlobPrefix

        found = self._listed(lambda: self._container.walk_blobs(name_starts_with=prefix or None, delimiter="/"))
        return (folder.name for folder in found if isinstance(folder, BlobPrefix))

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError), self._explained(name, reading=True):
            self._container.get_blob_client(name).delete_blob()

    def refuses_wrong_checksum(self, name: str) -> bool:
        """No: there is no checksum of a whole blob made of blocks that could be believed."""
        del name
        return False

    def _listed(self, ask: Callable[[], Any]) -> Iterator[Any]:
        """What a list tells, page by page."""

        def page(token: str | None) -> tuple[list[Any], str | None]:
            with self._explained("", reading=True):
                pages = ask().by_page(token)
                return list(next(pages, ())), pages.continuation_token

        token: str | None = ""
        while token is not None:
            found, token = again(lambda after=token: page(after or None))  # type: ignore[misc]
            yield from found
            token = token or None

    def _staged(self, blob: Any) -> frozenset[str]:
        """The names of blocks that an upload of this blob has staged and not put together."""
        with suppress(OSError, UserError), self._explained(blob.blob_name, reading=True):
            return frozenset(b64decode(block.id).decode(errors="replace") for block in blob.get_block_list("uncommitted")[1])
        return frozenset()

    @contextmanager
    def _explained(self, name: str, *, reading: bool = False, replacing: bool = False) -> Iterator[None]:
        """The errors a Service raises, for those of Azure's library. Its messages may hold signed addresses and are not repeated."""
        from azure.core import exceptions

        try:
            yield
        except exceptions.HttpResponseError as error:
            raise answered(error, self.address, name, reading=reading, replacing=replacing, by_identity=self._by_identity) from None
        except exceptions.AzureError as error:
            raise ConnectionError(f"{self.address.url_of(name)}: {type(error).__name__}") from None
        except ValueError as error:
            raise no_credentials(self.address, f"they have not the right form ({type(error).__name__})") from None


def _is_folder(found: Any) -> bool:
    """Whether this is no object: accounts with a hierarchical namespace list their folders as well, marked so."""
    return any(name.lower() == "hdi_isfolder" and value.lower() == "true" for name, value in (found.metadata or {}).items())


def _head(found: Any) -> Head:
    return Head(
        name=found.name,
        size=found.size,
        version=found.etag,
        modified=found.last_modified.timestamp() if found.last_modified else None,
    )
