"""The account of Azure Blob that an address and the environment mean, and how its requests are signed."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from runtime.checkpoint.refusal import no_credentials, package_missing
from runtime.checkpoint.service import CONNECT_S, READ_S
from runtime.config.storage import Address

# Pauses between attempts are the caller's, who also knows when to give up.
_OPTIONS: dict[str, Any] = {"retry_total": 0, "connection_timeout": CONNECT_S, "read_timeout": READ_S, "logging_enable": False}


def open_account(address: Address) -> tuple[Any, bool]:
    """The library's client of the account, and whether its requests are signed by an identity of Entra ID.

    A connection string, a key or a SAS token of the environment wins over an identity. Raises UserError: `missing-package`, `credentials`.
    """
    try:
        from azure.storage.blob import BlobServiceClient
    except ImportError as error:
        raise package_missing(address, error, "azure-storage-blob") from error
    try:
        service: Any = _by_secret(address, BlobServiceClient)
    except ValueError as error:
        raise no_credentials(address, f"they have not the right form ({type(error).__name__})") from None
    if service is not None:
        return service, False
    url = _url(address)
    if not url.startswith("https://"):
        raise no_credentials(address, "the environment has no key for it, and tokens of Entra ID go over https alone")
    # Imported for addresses without a key alone, which are few.
    from runtime.checkpoint.azure_login import Login

    return BlobServiceClient(url, credential=Login(address), **_OPTIONS), True


def _by_secret(address: Address, client: Any) -> Any:
    """The client that signs with what the environment holds; None where that is nothing of this account."""
    if connection := os.environ.get("AZURE_STORAGE_CONNECTION_STRING"):
        service = client.from_connection_string(connection, **_OPTIONS)
        if address.endpoint in ("", urlsplit(service.url)._replace(query="").geturl().rstrip("/")):
            return service
    key = os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    if key:
        return client(_url(address), credential={"account_name": _account(address), "account_key": key}, **_OPTIONS)
    token = os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    return client(_url(address), credential=token, **_OPTIONS) if token else None


def _url(address: Address) -> str:
    if not address.endpoint and not _account(address):
        fix = "set AZURE_STORAGE_ACCOUNT, or write https://ACCOUNT.blob.core.windows.net/CONTAINER"
        raise no_credentials(address, "the environment names no storage account", fix)
    return address.endpoint or f"https://{_account(address)}.blob.core.windows.net"


def _account(address: Address) -> str:
    if address.endpoint.startswith("https://") and ".blob." in address.endpoint:
        return address.endpoint.removeprefix("https://").partition(".")[0]
    return os.environ.get("AZURE_STORAGE_ACCOUNT", "")
