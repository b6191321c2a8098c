"""Staging folders: where a checkpoint is written before it is sealed, under a name that nobody takes for a checkpoint."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.checkpoint.disk import check_room, disk_error, explained, looks_full, make_folder, remove_tree
from runtime.checkpoint.layout import MANIFEST
from runtime.checkpoint.owner import owner_of, work_name
from runtime.checkpoint.tree import STAGING_PREFIX, TRASH_PREFIX

# A writer on another machine, or before a reboot, cannot be asked; one that changed nothing for so long is taken for dead.
SILENT_S = 3600.0


def new_staging(parent: Path) -> Path:
    """A new empty staging folder in `parent`, which is created when missing. Raises UserError when the disk refuses."""
    with explained(parent):
        make_folder(parent)
        staging = parent / work_name(STAGING_PREFIX)
        staging.mkdir()
    return staging


@contextmanager
def open_staging(parent: Path, *, needed_bytes: int | None = None) -> Iterator[Path]:
    """A staging folder in `parent` to write a checkpoint into and seal; what was not sealed inside the block is removed after it.

    `needed_bytes`, when known, is checked against the free space before anything is written. A failure of the disk inside the block becomes a
    UserError, also when the library that wrote hides it behind an error of its own.
    """
    if needed_bytes is not None:
        check_room(parent, needed_bytes)
    staging = new_staging(parent)
    try:
        yield staging
    except OSError as error:
        raise disk_error(error, parent, needed=needed_bytes) from error
    except Exception as error:
        if looks_full(error, parent):
            raise disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), parent, needed=needed_bytes) from error
        raise
    finally:
        drop_staging(staging)


def drop_staging(staging: Path) -> None:
    """Remove a staging folder, if it is still there. What cannot be removed is left to the next sweep."""
    if staging.name.startswith(STAGING_PREFIX):
        with suppress(OSError):
            remove_tree(staging, first=MANIFEST)


def sweep_staging(parent: Path, *, now: float | None = None, silent_s: float = SILENT_S) -> tuple[Path, ...]:
    """Remove the staging and trash folders in `parent` whose writer is dead; returns those removed.

    A writer on this machine is dead when no process has its id and start time. One elsewhere is taken for dead after `silent_s` seconds
    without a change, by `now` (Unix seconds, default: the clock).
    """
    removed: list[Path] = []
    moment = time.time() if now is None else now
    try:
        folders = [entry for entry in parent.iterdir() if entry.is_dir() and not entry.is_symlink()]
    except FileNotFoundError:
        return ()
    for folder in folders:
        owner = owner_of(folder.name, STAGING_PREFIX) or owner_of(folder.name, TRASH_PREFIX)
        if owner is None:
            continue
        life = owner.life()
        if life == "dead" or (life == "elsewhere" and moment - _last_change(folder) > silent_s):
            with suppress(OSError):
                remove_tree(folder, first=MANIFEST)
                removed.append(folder)
    return tuple(removed)


def _last_change(folder: Path) -> float:
    newest = 0.0
    for place, _, names in os.walk(folder):
        for path in (Path(place), *(Path(place, name) for name in names)):
            with suppress(OSError):
                newest = max(newest, path.lstat().st_mtime)
    return newest
