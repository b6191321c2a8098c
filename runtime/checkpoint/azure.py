"""Azure Blob Storage, by azure-storage-blob."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.objects import Head, ObjectStore, ReplacedError
from runtime.checkpoint.parts import Parts
from runtime.checkpoint.refusal import missing_bucket, no_credentials, no_permission, package_missing, refused
from runtime.config.storage import Address


class AzureStore(ObjectStore):
    """A container of Azure Blob. Credentials come from the environment: a connection string, or an account with its key or a SAS token."""

    def __init__(self, address: Address) -> None:
        super().__init__(_Azure(address))


class _Azure:
    parallel = "azure"

    def __init__(self, address: Address) -> None:
        try:
            from azure.core import MatchConditions
            from azure.storage.blob import BlobBlock, BlobServiceClient
        except ImportError as error:
            raise package_missing(address, error, "azure-storage-blob") from error
        self.address = address
        self._same: Any = MatchConditions.IfNotModified
        self._block: Any = BlobBlock
        options: dict[str, Any] = {"retry_total": 4, "connection_timeout": 10, "read_timeout": 60, "logging_enable": False}
        account, connection = os.environ.get("AZURE_STORAGE_ACCOUNT", ""), os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
        key = os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
        secret: Any = key or os.environ.get("AZURE_STORAGE_SAS_TOKEN")
        if address.endpoint.startswith("https://") and ".blob." in address.endpoint:
            account = address.endpoint.removeprefix("https://").partition(".")[0]
        with self._explained("", reading=True):
            service: Any
            if connection and not address.endpoint:
                service = BlobServiceClient.from_connection_string(connection, **options)
            elif secret and (account or address.endpoint):
                if key:
                    secret = {"account_name": account, "account_key": key}
                service = BlobServiceClient(address.endpoint or f"https://{account}.blob.core.windows.net", credential=secret, **options)
            else:
                raise no_credentials(address, "the environment has none")
        self._container: Any = service.get_container_client(address.bucket)

    def head(self, name: str) -> Head | None:
        try:
            with self._explained(name, reading=True):
                found = self._container.get_blob_client(name).get_blob_properties()
        except FileNotFoundError:
            return None
        return _head(found)

    def get(self, head: Head, offset: int, count: int) -> bytes:
        with self._explained(head.name, reading=True):
            stream = self._container.get_blob_client(head.name).download_blob(
                offset=offset, length=count, etag=head.version, match_condition=self._same, max_concurrency=1
            )
            content: bytes = stream.readall()
        return content

    def put(self, name: str, content: bytes, *, create: bool, replaces: str | None) -> None:
        condition = {"etag": replaces, "match_condition": self._same} if replaces is not None else {}
        with self._explained(name):
            self._container.get_blob_client(name).upload_blob(content, overwrite=not create, **condition)

    def send(self, name: str, source: Path, parts: Parts, *, checksums: bool) -> tuple[Digest, str | None]:
        # The service sums single puts only, not what is put together from blocks, so nothing is confirmed and all is read back.
        del checksums
        blob = self._container.get_blob_client(name)

        def put(number: int, content: bytes) -> Any:
            block = b64encode(f"{number:08d}".encode()).decode()
            if content:
                with self._explained(name):
                    blob.stage_block(block, content, length=len(content))
            return self._block(block_id=block) if content else None

        digest, blocks = parts.send(source, source.stat().st_size, put, lambda _content: None)
        with self._explained(name):
            blob.commit_block_list([block for block in blocks if block is not None])
        return digest, None

    def list(self, prefix: str) -> Iterator[Head]:
        with self._explained("", reading=True):
            pages = iter(self._container.list_blobs(name_starts_with=prefix or None).by_page())
        while True:
            with self._explained("", reading=True):
                page = next(pages, None)
                found = [] if page is None else list(page)
            if page is None:
                return
            yield from map(_head, found)

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError), self._explained(name, reading=True):
            self._container.get_blob_client(name).delete_blob()

    def refuses_wrong_checksum(self, name: str) -> bool:
        """No: there is no checksum of a whole blob made of blocks that could be believed."""
        del name
        return False

    @contextmanager
    def _explained(self, name: str, *, reading: bool = False) -> Iterator[None]:
        """The errors a Service raises, for those of Azure's library. Its messages may hold signed addresses and are not repeated."""
        from azure.core import exceptions

        try:
            yield
        except exceptions.HttpResponseError as error:
            raise self._answer(error, name, reading=reading) from None
        except exceptions.AzureError as error:
            raise ConnectionError(f"{self.address.url_of(name)}: {type(error).__name__}") from None
        except ValueError as error:
            raise no_credentials(self.address, f"they have not the right form ({type(error).__name__})") from None

    def _answer(self, error: Any, name: str, *, reading: bool) -> Exception:
        code, status, url = str(getattr(error, "error_code", None) or ""), int(error.status_code or 0), self.address.url_of(name)
        code = code.rpartition(".")[2]
        if code in ("ContainerNotFound", "CONTAINER_NOT_FOUND") or (status == 404 and not name):
            return missing_bucket(self.address)
        if status == 404:
            return FileNotFoundError(f"{url} is missing")
        if status == 412 or code in ("BlobAlreadyExists", "BLOB_ALREADY_EXISTS"):
            return ReplacedError(f"{url} was written by somebody else") if reading else FileExistsError(url)
        if status == 401 or code in ("AuthenticationFailed", "AUTHENTICATION_FAILED", "InvalidAuthenticationInfo"):
            return no_credentials(self.address, f"the store does not accept them ({code or status})")
        if status == 403:
            return no_permission(self.address, name, code or str(status))
        if status >= 500 or status in (0, 408, 409, 429):
            return ConnectionError(f"{url}: {status} {code}")
        return refused(self.address, name, f"{status} {code}")


def _head(found: Any) -> Head:
    return Head(
        name=found.name,
        size=found.size,
        version=found.etag,
        modified=found.last_modified.timestamp() if found.last_modified else None,
    )
