"""What the operating system refused, as a problem with a way out."""

from __future__ import annotations

import errno
from pathlib import Path

from runtime.config.problem import Problem


def refusal(error: OSError, place: Path) -> Problem:
    """The problem behind an OSError raised while working on `place`: no permission, a full disk, a missing or wrong kind of path."""
    match error.errno:
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return Problem(
                code="no-permission",
                message="no permission to write here",
                place=str(place),
                fix="choose a folder you may write to, or change its permissions",
            )
        case errno.ENOSPC | errno.EDQUOT:
            return Problem(
                code="disk-full", message="the disk is full", place=str(place), fix="free space there, or choose a folder on another disk"
            )
        case errno.ENOENT:
            return Problem(code="missing-file", message="no such file or folder", place=str(place), fix="check the path")
        case errno.ENOTDIR | errno.EEXIST:
            return Problem(
                code="not-a-folder",
                message="a file is in the way of this folder",
                place=str(place),
                fix="choose another folder, or move the file",
            )
        case errno.EISDIR:
            return Problem(code="not-a-file", message="this is a folder, not a file", place=str(place), fix="give the path of a file")
        case _:
            return Problem(code="os-error", message=error.strerror or str(error), place=str(place), fix="check the path and its disk")
