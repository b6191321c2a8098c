"""Whether somebody looks after the run on this machine: a lock that ends with its holder."""

from __future__ import annotations

from launcher.state.lock import take
from launcher.state.runs import RunFolder
from runtime.config.problem import Problem, UserError


def attend(folder: RunFolder) -> int:
    """The descriptor that says so until this process ends. Raises UserError when another process attends the run here already."""
    lock = take(folder.lock_path)
    if lock is None:
        raise UserError(
            Problem(
                code="busy",
                place=str(folder.path),
                message="another process attends this run on this machine",
                fix="wait for it, or stop it",
            )
        )
    return lock
