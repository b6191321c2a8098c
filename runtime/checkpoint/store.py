"""The Store Protocol: a place for objects under string keys, as far as checkpoints need one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from runtime.checkpoint.checksum import Digest, digest_stream
from runtime.config.problem import ExitCode, Problem, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store was found to honour; found by trying, not by its name."""

    conditional_put: bool
    """`put_bytes(create=True)` lets exactly one of several writers win."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One object."""

    key: str
    size: int
    modified: float | None = None
    """Unix seconds, by the store's clock."""


class Store(Protocol):
    """Objects under keys such as `run/checkpoints/step-00000040/manifest.json`.

    An object is seen whole or not at all. Keys are relative paths, `/` between parts; a key that is none raises ValueError. Every method may raise
    FileNotFoundError for a missing object, OSError for what may pass when tried again, and UserError for what needs the user: credentials,
    permission, a full disk. All methods may be called from several threads.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this store honours, found by a probe on first use."""
        ...

    def put_file(self, key: str, source: Path) -> Digest:
        """Copy a local file to `key`, replacing what is there; returns size and checksum of the bytes as they were read."""
        ...

    def put_bytes(self, key: str, content: bytes, *, create: bool = False) -> None:
        """Write a small object. With `create`, raise FileExistsError when the key is taken; needs `conditional_put`."""
        ...

    def get_file(self, key: str, target: Path) -> Digest:
        """Copy `key` to the new file `target`; returns size and checksum of the bytes as they arrived."""
        ...

    def read(self, key: str) -> Iterator[bytes]:
        """The content of `key` in chunks of bounded size, as the store holds it now."""
        ...

    def list(self, prefix: str) -> Iterator[Stat]:
        """Every object whose key starts with `prefix`, in the order of their keys; `""` or a prefix that ends in `/`."""
        ...

    def stat(self, key: str) -> Stat | None:
        """One object's size, None when it is missing."""
        ...

    def delete(self, key: str) -> None:
        """Remove `key`; a missing object is fine."""
        ...

    def url(self, key: str = "") -> str:
        """The address of `key`, or of the store, for people and for `open_store`."""
        ...


def digest_object(store: Store, key: str) -> Digest:
    """Size and checksum of what the store holds, by reading it back. Raises as Store.read."""
    return digest_stream(store.read(key))


def get_bytes(store: Store, key: str, *, limit: int) -> bytes:
    """The content of a small object. Raises UserError when it is larger than `limit`, else as Store.read."""
    content = bytearray()
    for chunk in store.read(key):
        content += chunk
        if len(content) > limit:
            raise UserError(
                Problem(code="bad-manifest", message=f"larger than the {limit:,} bytes expected here", place=store.url(key)),
                exit_code=ExitCode.NOT_VERIFIED,
            )
    return bytes(content)


# Who will open these addresses, said to a user who has one already.
_PLANNED = {
    "s3": "Amazon S3 and its kin (R2, MinIO, SeaweedFS)",
    "gs": "Google Cloud Storage",
    "az": "Azure Blob Storage",
    "hf": "the Hugging Face Hub",
}


def open_store(url: str) -> Store:
    """The store at `url`: a plain path or `file:///path` is a folder, created on the first write.

    Raises UserError `unsupported` for the addresses of object stores that this version does not open, `unknown-name` for anything else.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _directory(url, url)
    scheme = scheme.lower()
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if slash and host in ("", "localhost"):
            return _directory(unquote(f"/{path}"), url)
        raise UserError(
            Problem(
                code="wrong-type", message="a file address has three slashes and an absolute path", place=url, fix=f"write file:///{rest}"
            )
        )
    if scheme in _PLANNED:
        raise UserError(
            Problem(
                code="unsupported",
                message=f"{scheme}:// addresses belong to {_PLANNED[scheme]}, whose store is not built yet",
                place=url,
                fix="use a folder (a path or file:///…) on a disk that outlives the machine",
            )
        )
    near = difflib.get_close_matches(scheme, ["file", *_PLANNED], n=1)
    raise UserError(
        Problem(
            code="unknown-name",
            message=f"no store is known for {scheme}:// addresses",
            place=url,
            fix="use a path or file:///…",
            suggestion=f"{near[0]}://" if near else None,
        )
    )


def _directory(path: str, url: str) -> Store:
    # Each implementation is imported when an address asks for it: the others' libraries stay unloaded.
    from runtime.checkpoint.directory import DirectoryStore

    if not path.strip() or "\0" in path:
        raise UserError(
            Problem(
                code="wrong-type",
                message="a storage address is a path or a URL",
                place=repr(url),
                fix="write an absolute path or file:///…",
            )
        )
    return DirectoryStore(Path(path).expanduser().absolute())
