"""Bringing a run's final model to a folder of the user's choice, whole and verified or not at all."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from launcher.state.outputs import final_folder, storage_folder
from launcher.state.refusals import refusal
from runtime.checkpoint.layout import MANIFEST
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.staging import drop_staging, new_staging
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """What was copied, and where it came from."""

    path: Path
    source: Path
    files: int
    total_bytes: int


def pull_final(record: RunRecord, target: Path) -> Pulled:
    """Copy the run's final model, from the output folder or else from the store, into `target`, which must be empty or missing.

    Raises UserError when the run has no sealed final model, when the copy differs from the manifest (exit 7), or when `target` cannot take it.
    """
    source = final_folder(Path(record.output_dir), storage_folder(record.storage, record.run))
    if source is None:
        raise UserError(
            Problem(
                code="no-model",
                message=f"run '{record.run}' has no final model yet ({record.state})",
                fix=f"`launcher status {record.run}` shows how far it is",
            )
        )
    target = target.expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            Problem(
                code="output-taken", message="something is here already", place=str(target), fix="choose an empty or new folder with -o"
            )
        )
    staging = new_staging(target.parent)
    try:
        # A merged model lies inside the final folder under a manifest of its own, which the outer one does not cover.
        shutil.copytree(source, staging, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        checked = [_check(folder.parent) for folder in sorted(staging.rglob(MANIFEST))]
        if target.exists():
            target.rmdir()
        staging.rename(target)
    except OSError as error:
        raise UserError(refusal(error, target)) from error
    finally:
        drop_staging(staging)
    return Pulled(path=target, source=source, files=sum(count for count, _ in checked), total_bytes=sum(size for _, size in checked))


def _check(folder: Path) -> tuple[int, int]:
    manifest = read_manifest(folder)
    problems = verify(folder, manifest)
    if problems:
        raise UserError(problems, exit_code=ExitCode.NOT_VERIFIED)
    return len(manifest.files), manifest.total_bytes
