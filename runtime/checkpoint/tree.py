"""What a folder holds, symbolic links not followed."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from runtime.checkpoint.layout import MANIFEST

# Folders that are being written or being deleted; they belong to no checkpoint, wherever they are.
STAGING_PREFIX = ".staging-"
TRASH_PREFIX = ".trash-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Paths are relative to the folder listed, `/` between parts."""

    files: dict[str, int] = field(default_factory=dict)
    """Plain files and their sizes in bytes."""
    others: set[str] = field(default_factory=set)
    """Symbolic links, sockets, devices: nothing a checkpoint can hold."""
    folders: list[str] = field(default_factory=list)
    """Folders below, each after the one it lies in."""
    sealed_below: list[str] = field(default_factory=list)
    """Folders below that have a manifest of their own."""


def list_tree(folder: Path, *, skip_hidden_work: bool = False) -> Tree:
    """Everything below `folder`; with `skip_hidden_work`, staging and trash folders are passed over. Raises OSError."""
    tree = Tree()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(folder / prefix if prefix else folder) as entries:
                for entry in entries:
                    _add(tree, waiting, entry, prefix, skip_hidden_work=skip_hidden_work)
        except FileNotFoundError:
            # Something below may be deleted meanwhile by its owner; the folder asked about may not.
            if not prefix:
                raise
    return tree


def _add(tree: Tree, waiting: list[str], entry: os.DirEntry[str], prefix: str, *, skip_hidden_work: bool) -> None:
    name = f"{prefix}/{entry.name}" if prefix else entry.name
    if entry.is_dir(follow_symlinks=False):
        if not (skip_hidden_work and is_work_folder(entry.name)):
            tree.folders.append(name)
            waiting.append(name)
    elif entry.is_file(follow_symlinks=False):
        with suppress(FileNotFoundError):
            tree.files[name] = entry.stat(follow_symlinks=False).st_size
        if prefix and entry.name == MANIFEST:
            tree.sealed_below.append(prefix)
    else:
        tree.others.add(name)


def is_work_folder(name: str) -> bool:
    """Whether a folder's name says it is being written or being deleted."""
    return name.startswith((STAGING_PREFIX, TRASH_PREFIX))
