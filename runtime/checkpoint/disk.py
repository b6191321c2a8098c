"""Durable changes to a local disk, and what to tell the user when the disk refuses them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.checkpoint.checksum import CHUNK_BYTES, Digest, Hasher
from runtime.config.problem import ExitCode, Problem, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_durably(path: Path, content: bytes) -> None:
    """Create `path` with `content` and have it on the disk on return. Raises FileExistsError when the name is taken, OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path, *, sync: bool, passing: Callable[[int], None] | None = None) -> Digest:
    """Copy `source` to the new file `target`; returns size and checksum of what was read. With `sync` it is on the disk then.

    `passing` is told the size of each piece before it is written. Raises OSError.
    """
    hasher = Hasher()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        while count := reader.readinto(buffer):
            chunk = buffer[:count]
            hasher.update(chunk)
            if passing is not None:
                passing(count)
            while chunk:
                chunk = chunk[writer.write(chunk) :]
        if sync:
            os.fsync(writer.fileno())
    return hasher.digest()


def sync_file(path: Path) -> None:
    """Have what was written into `path` on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have the names in `folder` on the disk: after it, a created or renamed entry outlives a power loss. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems have no fsync for folders; they order renames themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and whatever is missing above it, each durably. Raises NotADirectoryError when a file is in the way, OSError."""
    missing = []
    current = folder
    while not current.is_dir():
        missing.append(current)
        current = current.parent
    for path in reversed(missing):
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError as error:
            if not path.exists():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
            # Told apart from an object that exists already, which is an answer and no failure.
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
        sync_folder(path.parent)


def remove_tree(folder: Path, *, first: str | None = None) -> None:
    """Delete `folder` and all below it, the file named `first` before anything else. Missing pieces are fine. Raises OSError."""
    if first is not None:
        (folder / first).unlink(missing_ok=True)
    shutil.rmtree(folder, onerror=_ignore_missing)


def free_bytes(place: Path) -> int:
    """Bytes an ordinary user can still write where `place` is, or will be. Raises OSError."""
    current = place
    while not current.exists() and current != current.parent:
        current = current.parent
    return shutil.disk_usage(current).free


def check_room(place: Path, needed: int) -> None:
    """Nothing, when the disk of `place` has `needed` bytes free. Raises UserError `disk-full` before anything is written."""
    with explained(place):
        free = free_bytes(place)
    if free < needed:
        raise UserError(_full_problem(place, needed), exit_code=ExitCode.TRAINING_FAILED)


@contextmanager
def explained(place: Path, *, needed: int | None = None) -> Iterator[None]:
    """Turn an OSError raised inside into a UserError that says what the disk of `place` refused and what to do."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, place, needed=needed) from error


def disk_error(error: OSError, place: Path, *, needed: int | None = None) -> UserError:
    """What the user can do about `error`: codes `disk-full`, `read-only`, `no-permission`, `disk-error`."""
    at = str(error.filename or place)
    if error.errno in _FULL:
        return UserError(_full_problem(place, needed), exit_code=ExitCode.TRAINING_FAILED)
    if error.errno == errno.EROFS:
        return UserError(
            Problem(
                code="read-only",
                message="this file system is mounted read-only",
                place=at,
                fix="remount it for writing, or choose another folder",
            )
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UserError(
            Problem(
                code="no-permission",
                message=f"no permission here ({error.strerror})",
                place=at,
                fix=f"give this user access to {place}, or use another folder",
            )
        )
    return UserError(
        Problem(
            code="disk-error",
            message=f"the disk refused: {error.strerror or error}",
            place=at,
            fix="check this disk, then resume; sealed checkpoints are untouched",
        ),
        exit_code=ExitCode.TRAINING_FAILED,
    )


def looks_full(error: BaseException, place: Path) -> bool:
    """Whether `error` comes from a full disk, also when the library that wrote said so only in words or not at all."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        # An exception may be its own cause.
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in _FULL:
            return True
        if "No space left on device" in str(current):
            return True
        current = current.__cause__ or current.__context__
    try:
        return free_bytes(place) < 1 << 16
    except OSError:
        return False


def _full_problem(place: Path, needed: int | None) -> Problem:
    try:
        free = f"{in_units(free_bytes(place))} free"
    except OSError:
        free = "no room left"
    want = f", {in_units(needed)} needed" if needed is not None else ""
    return Problem(
        code="disk-full",
        message=f"the disk is full ({free}{want}); earlier sealed checkpoints are untouched",
        place=str(place),
        fix="free space there, keep fewer checkpoints (save_total_limit), or choose a larger disk; then resume",
    )


def in_units(size: int) -> str:
    """`1,234 bytes`, `3.4 MiB`, `12.0 GiB`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:,} bytes"


def _ignore_missing(_function: object, _path: object, info: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]
