"""Making an output folder a run's own: one folder, one run."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from launcher.state.refusals import refusal
from runtime.checkpoint.layout import CHECKPOINTS, FINAL, PORTIONS, WEIGHTS
from runtime.config.problem import Problem, UserError
from runtime.record import RunRecord, read_record

OWN_NAMES = (
    *(CHECKPOINTS, FINAL, WEIGHTS, PORTIONS),
    *(".uploader", ".activations", "spectrum.json", "lm_eval.json", "events.jsonl", "chaos.json", "train.lock", "config.yml", "run.json"),
)
"""What a run leaves in its output folder, the mark of ownership last."""


def claim(output_dir: Path, record: RunRecord) -> None:
    """Create `output_dir` if needed and put the run's record into it, as the only run there.

    Raises UserError and changes nothing when the folder belongs to another run, holds the results of an unknown one, or cannot be written to.
    """
    owner_file = output_dir / "run.json"
    in_the_way = next((place for place in (output_dir, *output_dir.parents) if place.exists() and not place.is_dir()), None)
    if in_the_way is not None:
        raise UserError(refusal(NotADirectoryError(errno.ENOTDIR, "not a folder"), in_the_way))
    if (owner := read_record(owner_file)) is not None:
        if owner.run == record.run:
            return
        raise UserError(_taken(output_dir, owner.run))
    leftovers = [name for name in OWN_NAMES if (output_dir / name).exists()]
    if leftovers:
        raise UserError(
            Problem(
                code="output-taken",
                message=f"this folder holds results that belong to no known run: {', '.join(leftovers)}",
                place=str(output_dir),
                fix="choose another output_dir, or move these files away",
            )
        )
    made = _missing_folders(output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        # Exclusive, so that of two launchers at the same moment one wins and the other is told.
        with os.fdopen(os.open(owner_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as stream:
            stream.write(record.model_dump_json(indent=1).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError as error:
        if Path(str(error.filename)) != owner_file:
            raise UserError(refusal(error, output_dir)) from error
        raise UserError(_taken(output_dir, "just starting")) from error
    except OSError as error:
        owner_file_is_ours = error.filename is None
        _undo(owner_file if owner_file_is_ours else None, made)
        raise UserError(refusal(error, output_dir)) from error


def release(output_dir: Path, run: str) -> None:
    """Take back the claim of a run that could not start; what others put there stays."""
    owner = read_record(output_dir / "run.json")
    if owner is not None and owner.run == run:
        (output_dir / "config.yml").unlink(missing_ok=True)
        _undo(output_dir / "run.json", [output_dir])


def owner_of(output_dir: Path) -> str | None:
    """The run the folder belongs to, None when it belongs to none."""
    try:
        record = read_record(output_dir / "run.json")
    except UserError:
        return None
    return record.run if record is not None else None


def _taken(output_dir: Path, owner: str) -> Problem:
    return Problem(
        code="output-taken",
        message=f"this folder belongs to run '{owner}'",
        place=str(output_dir),
        fix=f"`launcher resume {owner}` goes on with that run; for a new one choose another folder with --set output_dir=…, or leave output_dir out. If `launcher ps` does not know that run, move the folder away",
    )


def _missing_folders(folder: Path) -> list[Path]:
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    return missing


def _undo(owner_file: Path | None, folders: list[Path]) -> None:
    if owner_file is not None:
        owner_file.unlink(missing_ok=True)
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
