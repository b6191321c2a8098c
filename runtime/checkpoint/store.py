"""The Store Protocol: a place for objects under string keys, as far as checkpoints need one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.checkpoint.checksum import THREADS, Digest, digest_stream
from runtime.checkpoint.manifest import check_relative
from runtime.checkpoint.transit import Arrived, nobody
from runtime.config.problem import ExitCode, Problem, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a store was found to honour; found by trying, not by its name."""

    conditional_put: bool
    """`put_bytes(create=True)` lets exactly one of several writers win."""
    conditional_replace: bool = False
    """`put_bytes(replaces=…)` fails when somebody else has written since."""
    checksums: bool = False
    """The store computes a checksum of what it got, and refuses a body that does not match the one announced."""
    together: int = THREADS
    """How many files, or deletions, it is best given at once."""
    commits: bool = False
    """Every change is a commit of a history; only so many an hour are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One object."""

    key: str
    size: int
    modified: float | None = None
    """Unix seconds, by the store's clock."""
    version: str | None = None
    """What `put_bytes(replaces=…)` takes; from `stat`, where the store has such a thing."""


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

    def put_file(self, key: str, source: Path, *, origin: str | None = None) -> Digest:
        """Copy a local file to `key`, replacing what is there; returns size and checksum of the bytes as they were read.

        `confirmed` in the result says that the store vouched for the whole object afterwards. `origin` names another object here that is said to
        hold the same: the store makes its own copy of it where it can, which `copied` tells, and `source` is read for its sums alone. Where that does
        not work out, for whatever reason, the file is sent. A big file that was cut off goes on from there when the same is put to the same key again.
        """
        ...

    def put_bytes(self, key: str, content: bytes, *, create: bool = False, replaces: str | None = None) -> None:
        """Write a small object.

        With `create`, raise FileExistsError when the key is taken; needs `conditional_put`. With `replaces`, a version that `stat` told, raise
        FileExistsError when the object is another one by now, or gone; needs `conditional_replace`. A request that was answered too late and sent again
        may meet its own first copy, so who is refused looks at what is there.
        """
        ...

    def get_file(self, key: str, target: Path, *, arrived: Arrived = nobody) -> Digest:
        """Copy `key` to the new file `target`; returns size and checksum of the bytes as they arrived. The disk's cache may hold it still.

        `arrived` is told of each piece; of what is begun again more than once.
        """
        ...

    def read(self, key: str) -> Iterator[bytes]:
        """The content of `key` in chunks of bounded size, as the store holds it now."""
        ...

    def list(self, prefix: str) -> Iterator[Stat]:
        """Every object whose key starts with `prefix`, in the order of their keys; `""` or a prefix that ends in `/`."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of what lies directly below `prefix` and has objects below it, each once; `""` or a prefix that ends in `/`.

        What lies in them costs nothing, however much it is. A folder that was made by itself, or emptied a while ago, may be among them; one whose name
        can be in no key is not.
        """
        ...

    def stat(self, key: str) -> Stat | None:
        """One object's size, None when it is missing."""
        ...

    def delete(self, key: str) -> None:
        """Remove `key`; a missing object is fine."""
        ...

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        """Remove what uploads below `prefix` that never ended have left, of the keys that `dropped` takes: it is seen by nobody and may cost money."""
        ...

    def url(self, key: str = "") -> str:
        """The address of `key`, or of the store, for people and for `open_store`."""
        ...


def check_prefix(prefix: str) -> str:
    """`prefix` itself when it is one that can be listed: none, or one that ends in a slash. Raises ValueError."""
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"a prefix ends in a slash: {prefix!r}")
    return prefix


def is_key(key: str) -> bool:
    """Whether `key` can be one. What others have put into a bucket may have names that cannot."""
    try:
        check_relative(key)
    except ValueError:
        return False
    return True


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
