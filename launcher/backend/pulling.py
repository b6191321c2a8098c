"""Bringing a run's model, or one of its checkpoints, to a folder of the user's choice, whole and verified or not at all."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.state.outputs import final_folder
from launcher.state.refusals import refusal
from runtime.checkpoint.fetching import copy_sealed
from runtime.checkpoint.layout import CHECKPOINTS, FINAL, MANIFEST, MERGED, step_folder
from runtime.checkpoint.manifest import is_sealed, read_manifest, verify
from runtime.checkpoint.patience import patiently
from runtime.checkpoint.staging import drop_staging, new_staging
from runtime.checkpoint.store import open_store
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What was copied, and the folder or address it came from."""

    path: Path
    source: str
    files: int
    total_bytes: int


def pull(record: RunRecord, target: Path, *, step: int | None = None) -> Pulled:
    """Copy the run's final model, or its checkpoint of `step`, into `target`, which must be empty or missing.

    The output folder is looked into first, then the run's storage. Raises UserError when neither has it sealed, when the copy differs from the
    manifest (exit 7), when the store cannot be reached (exit 8), or when `target` cannot take it.
    """
    target = target.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            Problem(
                code="output-taken", message="something is here already", place=str(target), fix="choose an empty or new folder with -o"
            )
        )
    staging = new_staging(target.parent)
    try:
        copy = staging / "copy"
        source = _bring(record, copy, step)
        checked = [_check(folder.parent) for folder in sorted(copy.rglob(MANIFEST))]
        if target.exists():
            target.rmdir()
        copy.rename(target)
    except OSError as error:
        raise UserError(refusal(error, target)) from error
    finally:
        drop_staging(staging)
    return Pulled(path=target, source=source, files=sum(count for count, _ in checked), total_bytes=sum(size for _, size in checked))


def _bring(record: RunRecord, copy: Path, step: int | None) -> str:
    """Copies what is asked for to `copy`; returns where it was found."""
    output = Path(record.output_dir)
    local = final_folder(output) if step is None else output / CHECKPOINTS / step_folder(step)
    if local is not None and is_sealed(local):
        # A merged model lies inside the final folder under a manifest of its own, which the outer one does not cover.
        shutil.copytree(local, copy, ignore=shutil.ignore_patterns(".*"))
        return str(local)
    name = FINAL if step is None else f"{CHECKPOINTS}/{step_folder(step)}"
    place = RunStore(store=open_store(record.storage), run=record.run) if record.storage is not None else None
    if place is None or not _copy_stored(place, name, copy):
        raise UserError(_nothing(record, step))
    if step is None:
        _copy_stored(place, MERGED, copy / MERGED.removeprefix(f"{FINAL}/"))
    return place.url(name)


def _copy_stored(place: RunStore, name: str, copy: Path) -> bool:
    with suppress(FileNotFoundError):
        copy_sealed(place, patiently(lambda: place.manifest(name), place.url(name)), copy)
        return True
    return False


def _nothing(record: RunRecord, step: int | None) -> Problem:
    where = f" in {record.output_dir}" + (f" or {record.storage}" if record.storage else "")
    if step is not None:
        return Problem(
            code="no-checkpoint",
            message=f"run '{record.run}' has no sealed checkpoint of step {step}{where}",
            fix=f"`launcher status {record.run}` lists its checkpoints",
        )
    return Problem(
        code="no-model",
        message=f"run '{record.run}' has no final model yet ({record.state})",
        fix=f"`launcher status {record.run}` shows how far it is; --step copies a checkpoint",
    )


def _check(folder: Path) -> tuple[int, int]:
    manifest = read_manifest(folder)
    problems = verify(folder, manifest)
    if problems:
        raise UserError(problems, exit_code=ExitCode.NOT_VERIFIED)
    return len(manifest.files), manifest.total_bytes
