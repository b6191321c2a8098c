"""The store that an address means."""

from __future__ import annotations

from pathlib import Path

from runtime.checkpoint.bandwidth import Bandwidth
from runtime.checkpoint.store import Store
from runtime.config.storage import parse_address


def open_store(url: str, *, bandwidth: Bandwidth | None = None) -> Store:
    """The store at `url`: a plain path or `file:///path` is a folder, created on the first write; `s3://`, `gs://`, `az://` are object stores, `hf://` is
    a repository of the Hugging Face Hub. Files are sent as fast as `bandwidth` allows.

    Raises UserError as `parse_address`; `missing-package` when the library of that store is not installed; `credentials` when the environment
    holds none for it. Nothing is sent yet.
    """
    address = parse_address(url)
    # Each implementation is imported when an address asks for it: the others' libraries stay unloaded.
    match address.kind:
        case "directory":
            from runtime.checkpoint.directory import DirectoryStore

            return DirectoryStore(Path(address.path).expanduser().absolute(), bandwidth)
        case "s3":
            from runtime.checkpoint.s3 import S3Store

            return S3Store(address, bandwidth)
        case "gs":
            from runtime.checkpoint.gcs import GoogleStore

            return GoogleStore(address, bandwidth)
        case "az":
            from runtime.checkpoint.azure import AzureStore

            return AzureStore(address, bandwidth)
        case "hf":
            from runtime.checkpoint.hub import HubStore

            return HubStore(address, bandwidth)
