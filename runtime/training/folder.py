"""The run's folder: who owns it, who trains in it right now, and the files every run keeps there."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.checkpoint.layout import CHECKPOINTS, FINAL, PORTIONS, WEIGHTS, step_folder
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import read_record, write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """Where things are inside `path`, the recipe's `output_dir`."""

    path: Path

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Sealed checkpoints, a folder each."""
        return self.path / CHECKPOINTS

    @property
    def final(self) -> Path:
        """The trained model."""
        return self.path / FINAL

    @property
    def weights(self) -> Path:
        """The weights alone of a newer step than any checkpoint, where a notice left no time for more."""
        return self.path / WEIGHTS

    @property
    def merged(self) -> Path:
        """The trained adapter merged into its base."""
        return self.final / "merged"

    @property
    def chaos(self) -> Path:
        """Which planned deaths have happened."""
        return self.path / "chaos.json"

    @property
    def portions(self) -> Path:
        """What this machine holds of checkpoints that several machines write, each to its own disk."""
        return self.path / PORTIONS

    def checkpoint(self, step: int) -> Path:
        """The sealed checkpoint of `step`."""
        return self.checkpoints / step_folder(step)

    def portion(self, step: int) -> Path:
        """What this machine holds of the checkpoint of `step`."""
        return self.portions / step_folder(step)


def create(folder: RunFolder) -> None:
    """Make the run's folder. Raises UserError when it cannot be."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(_unwritable(folder.path, error)) from error


@contextmanager
def claimed(folder: RunFolder, *, run: str | None) -> Iterator[None]:
    """Hold the run's folder while training in it.

    Raises UserError when the folder belongs to another run than `run` (None asks nobody), when another process trains in it, or when it cannot be
    written.
    """
    create(folder)
    _check_owner(folder, run)
    try:
        descriptor = os.open(folder.path / "train.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(_unwritable(folder.path, error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise UserError(
                Problem(
                    code="busy",
                    place=str(folder.path),
                    message="another process is training into this output_dir",
                    fix="wait for it, stop it, or set another output_dir",
                ),
            ) from error
        yield
    finally:
        os.close(descriptor)


def write_config(folder: RunFolder, text: str) -> None:
    """Keep the plain config the run trains with as `config.yml`."""
    write_atomic(folder.path / "config.yml", text.encode())


def _check_owner(folder: RunFolder, run: str | None) -> None:
    record = read_record(folder.path / "run.json") if run else None
    if record is not None and record.run != run:
        raise UserError(
            Problem(
                code="foreign-folder",
                place=str(folder.path),
                message=f"this output_dir belongs to run {record.run}, not to {run}",
                fix="set another output_dir",
            ),
            exit_code=ExitCode.INVALID,
        )


def _unwritable(path: Path, error: OSError) -> Problem:
    fix = "set output_dir to a folder you may write to"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return Problem(code="not-a-folder", place=str(path), path="output_dir", message="output_dir is a file, or lies under one", fix=fix)
    return Problem(
        code="no-permission", place=str(path), path="output_dir", message=f"cannot write into output_dir: {error.strerror}", fix=fix
    )
