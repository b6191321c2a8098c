"""Prepared data on disk, found again by content: built once beside its place, then moved there whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from runtime.config.problem import Problem, UserError

REPORT = "report.json"


def content_key(described: Any) -> str:
    """Twenty hexadecimal digits that stand for `described`, a JSON value."""
    return hashlib.sha256(json.dumps(described, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()[:20]


def built_once(root: Path, key: str, build: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder `root/key`, and whether it was there already; if not, `build` fills a folder beside it that is then renamed.

    A kill at any time leaves the whole folder or none. Of several processes one builds and the others wait for it. Raises UserError when the
    folder cannot be written or the disk is full.
    """
    final = root / key
    if (final / REPORT).exists():
        return final, True
    staging: Path | None = None
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{key}.lock"):
            if (final / REPORT).exists():
                return final, True
            # Whoever holds the lock is the only one at work on this key: what lies here is of processes that died.
            for left in root.glob(f".{key}.building-*"):
                shutil.rmtree(left, ignore_errors=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{key}.building-", dir=root))
            build(staging)
            _flush(staging)
            if final.exists():
                shutil.rmtree(final)
            staging.chmod(0o755)
            staging.rename(final)
            return final, False
    except OSError as error:
        raise UserError(_cannot_write(root, error)) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def note_folder(note: Path, folder: Path) -> None:
    """Write into `note` which folder beside it holds a recipe's rows. A place that cannot be written stays without: nothing but an estimate reads it."""
    with suppress(OSError):
        if note.is_file() and note.read_text(encoding="utf-8") == folder.name:
            return
        descriptor, written = tempfile.mkstemp(prefix=f"{note.name}-", dir=note.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(folder.name)
        Path(written).replace(note)


def _cannot_write(root: Path, error: OSError) -> Problem:
    if error.errno == errno.ENOSPC:
        return Problem(
            code="disk-full",
            message="the disk is full while preparing the data",
            place=str(root),
            fix="free some space, or set dataset_prepared_path to another disk",
        )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return Problem(
        code="not-writable",
        message=f"the prepared data cannot be kept here: {reason}",
        place=str(root),
        fix="set dataset_prepared_path to a folder you may write to",
    )


def _flush(folder: Path) -> None:
    for file in folder.rglob("*"):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
