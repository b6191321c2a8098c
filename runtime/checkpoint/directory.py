"""A folder as a store: a local disk, or one that several machines mount."""

from __future__ import annotations

import errno
import fcntl
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from runtime.checkpoint.bandwidth import Bandwidth, Unlimited
from runtime.checkpoint.checksum import CHUNK_BYTES, Digest, digest_file
from runtime.checkpoint.disk import copy_file, disk_error, make_folder, sync_folder, write_durably
from runtime.checkpoint.manifest import check_relative
from runtime.checkpoint.owner import owner_of, work_name
from runtime.checkpoint.patience import passes
from runtime.checkpoint.staging import SILENT_S
from runtime.checkpoint.store import Capabilities, Stat, check_prefix, is_key
from runtime.checkpoint.transit import Arrived, nobody
from runtime.checkpoint.tree import list_tree

# Objects on their way in. Inside the root, so that they are on its disk and can be linked into place.
_PARTIAL = ".partial"
# linux/fs.h: _IOW(0x94, 9, int).
_FICLONE = 0x40049409
_CANNOT_LINK = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class DirectoryStore:
    """Objects as files below `root`. Each is written aside, flushed to the disk, then linked or renamed into place."""

    def __init__(self, root: Path, bandwidth: Bandwidth | None = None) -> None:
        self.root = root
        self._bandwidth = bandwidth or Unlimited()

    @cached_property
    def capabilities(self) -> Capabilities:
        """Whether this file system can link, which is what lets exactly one of two writers win. Leftovers of dead writers go on the way."""
        with self._explained():
            # Before anything is written: a full disk has room again then.
            self._sweep()
            probe, twin = self._partial(), self._partial()
            try:
                write_durably(probe, b"")
                self._sweep(now=probe.stat().st_mtime)
                twin.hardlink_to(probe)
            except OSError as error:
                if error.errno in _CANNOT_LINK and probe.exists():
                    return Capabilities(conditional_put=False)
                raise
            finally:
                probe.unlink(missing_ok=True)
                twin.unlink(missing_ok=True)
        return Capabilities(conditional_put=True)

    def put_file(self, key: str, source: Path, *, origin: str | None = None) -> Digest:
        """As Store.put_file."""
        with self._incoming(key, create=False) as partial:
            if origin is not None and _clone(self._locate(origin), partial):
                digest = digest_file(source)
                if partial.stat().st_size == digest.size:
                    return replace(digest, copied=True)
                partial.unlink()
            return copy_file(source, partial, sync=True, passing=self._bandwidth.take)

    def put_bytes(self, key: str, content: bytes, *, create: bool = False, replaces: str | None = None) -> None:
        """As Store.put_bytes."""
        if replaces is not None:
            raise ValueError(f"{self.url()} cannot replace conditionally")
        if create and not self.capabilities.conditional_put:
            raise ValueError(f"{self.url()} cannot create conditionally")
        with self._incoming(key, create=create) as partial:
            write_durably(partial, content)

    def get_file(self, key: str, target: Path, *, arrived: Arrived = nobody) -> Digest:
        """As Store.get_file."""
        source = self._locate(key)
        with self._explained():
            source.open("rb").close()
        return copy_file(source, target, sync=False, passing=arrived)

    def read(self, key: str) -> Iterator[bytes]:
        """As Store.read."""
        with self._explained(), self._locate(key).open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk

    def list(self, prefix: str) -> Iterator[Stat]:
        """As Store.list."""
        start = self._folder(prefix)
        with self._explained():
            try:
                files = list_tree(start).files
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in sorted(files):
            if prefix or not name.startswith(f"{_PARTIAL}/"):
                yield Stat(key=f"{prefix}{name}", size=files[name])

    def folders(self, prefix: str) -> Iterator[str]:
        """As Store.folders. Symbolic links are not followed, as in `list`."""
        start = self._folder(prefix)
        with self._explained():
            try:
                with os.scandir(start) as entries:
                    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in sorted(names):
            if is_key(prefix + name) and (prefix or name != _PARTIAL):
                yield name

    def stat(self, key: str) -> Stat | None:
        """As Store.stat."""
        path = self._locate(key)
        with self._explained():
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return Stat(key=key, size=status.st_size, modified=status.st_mtime) if path.is_file() else None

    def delete(self, key: str) -> None:
        """As Store.delete. Folders that become empty go too, so that a deleted checkpoint leaves nothing."""
        path = self._locate(key)
        with self._explained():
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
                sync_folder(path.parent)
            for folder in path.parents:
                if folder == self.root:
                    break
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    continue
                except OSError:
                    break

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        """Nothing: what is being written lies elsewhere, and goes with its dead writer at the next start."""

    def url(self, key: str = "") -> str:
        """As Store.url: `file:///…`."""
        return f"file://{quote(str(self.root / key if key else self.root))}"

    @contextmanager
    def _incoming(self, key: str, *, create: bool) -> Iterator[Path]:
        """A file to write the object's content into; it becomes the object when the block ends well. Raises FileExistsError."""
        target = self._locate(key)
        with self._explained():
            partial = self._partial()
            try:
                yield partial
                retrying = Retrying(stop=stop_after_attempt(5), retry=retry_if_exception_type(FileNotFoundError), reraise=True)
                retrying(_put_in_place, partial, target, create=create)
            finally:
                partial.unlink(missing_ok=True)

    def _locate(self, key: str) -> Path:
        """The file of `key`. Raises ValueError for a key that is no relative path, or that a symbolic link leads out of the root."""
        if check_relative(key).split("/")[0] == _PARTIAL:
            raise ValueError(f"{key!r} is reserved")
        path = self.root / key
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ValueError(f"{key!r} leads out of {self.root} by a symbolic link")
        return path

    def _folder(self, prefix: str) -> Path:
        return self._locate(prefix.removesuffix("/")) if check_prefix(prefix) else self.root

    def _partial(self) -> Path:
        make_folder(self.root / _PARTIAL)
        return self.root / _PARTIAL / work_name("")

    def _sweep(self, *, now: float = -math.inf) -> None:
        """Remove what dead processes have left: those of this machine, and by `now`, of the clock that the files' times are by, the silent ones elsewhere."""
        with suppress(OSError):
            for path in [*(self.root / _PARTIAL).iterdir()]:
                owner = owner_of(path.name, "")
                life = owner.life() if owner else "alive"
                with suppress(OSError):
                    if life == "dead" or (life == "elsewhere" and now - path.stat().st_mtime > SILENT_S):
                        path.unlink()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What may pass, and what callers ask for (missing, taken), stays an OSError; what needs the user becomes a UserError."""
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            if passes(error):
                raise
            raise disk_error(error, self.root) from error


def _put_in_place(partial: Path, target: Path, *, create: bool) -> None:
    """Raises FileExistsError when `create` finds the name taken, FileNotFoundError when a delete removed the emptied folder just now."""
    make_folder(target.parent)
    if create:
        target.hardlink_to(partial)
    else:
        partial.replace(target)
    sync_folder(target.parent)


def _clone(origin: Path, target: Path) -> bool:
    """Whether `target` is now a file with the content of `origin`, made where that lies and sharing its blocks.

    Only where the file system does it without moving the bytes (Btrfs, XFS, others that have `FICLONE`). Elsewhere a copy there costs what a copy
    from here does. A hard link would cost nothing anywhere, but then one damaged file would be two damaged checkpoints.
    """
    try:
        with origin.open("rb") as reader, target.open("xb") as writer:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
            os.fsync(writer.fileno())
    except OSError:
        target.unlink(missing_ok=True)
        return False
    return True
