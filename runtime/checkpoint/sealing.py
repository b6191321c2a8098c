"""Sealing: a staging folder becomes a checkpoint in one step, after every byte of it is on the disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from runtime.checkpoint.checksum import digest_files
from runtime.checkpoint.disk import explained, make_folder, remove_tree, sync_folder, write_durably
from runtime.checkpoint.layout import MANIFEST
from runtime.checkpoint.manifest import DAMAGE, Kind, Manifest, ManifestFile, check_relative, read_manifest, verify
from runtime.checkpoint.owner import work_name
from runtime.checkpoint.staging import drop_staging, new_staging, open_staging, sweep_staging
from runtime.checkpoint.tree import TRASH_PREFIX, list_tree
from runtime.config.problem import ExitCode, Problem, UserError

__all__ = ["new_staging", "open_staging", "place_sealed", "seal", "sweep_staging"]

_MANIFEST_PARTIAL = ".manifest.json.partial"


def seal(
    staging: Path,
    final: Path,
    *,
    step: int,
    config_hash: str,
    world_size: int,
    extra: Mapping[str, JsonValue] | None = None,
    run: str = "",
    attempt: int = 1,
    kind: Kind = "checkpoint",
    created: float | None = None,
) -> Manifest:
    """The manifest of `final`, which is `staging` under its final name, complete and durable.

    A kill at any moment leaves either no `final` or a sealed one. `staging` must be on the disk of `final`, best beside it. It is gone afterwards,
    also when this raises UserError: `already-sealed` when `final` is a checkpoint that verifies (one that does not is replaced),
    `disk-full`, `read-only`, `no-permission`, `disk-error`, `unsupported-file` for symbolic links and names no store can keep.
    """
    try:
        with explained(final.parent):
            manifest = Manifest(
                kind=kind,
                run=run,
                step=step,
                created=time.time() if created is None else created,
                files=_sum_files(staging),
                config_hash=config_hash,
                world_size=world_size,
                attempt=attempt,
                extra=dict(extra or {}),
            )
            place_sealed(staging, final, manifest)
    except BaseException:
        drop_staging(staging)
        raise
    return manifest


def place_sealed(staging: Path, final: Path, manifest: Manifest) -> None:
    """Give `staging`, whose files are on the disk and match `manifest`, its manifest and its final name. Raises as `seal`, and OSError."""
    make_folder(final.parent)
    for folder in reversed(list_tree(staging).folders):
        sync_folder(staging / folder)
    partial = staging / _MANIFEST_PARTIAL
    partial.unlink(missing_ok=True)
    write_durably(partial, manifest.encode())
    partial.replace(staging / MANIFEST)
    sync_folder(staging)
    trash = _make_way(final)
    staging.rename(final)
    sync_folder(final.parent)
    if trash is not None:
        remove_tree(trash, first=MANIFEST)


def _sum_files(staging: Path) -> tuple[ManifestFile, ...]:
    tree = list_tree(staging)
    names = sorted(tree.files.keys() - {MANIFEST, _MANIFEST_PARTIAL})
    refused = [_refusal(staging, name, "is not a plain file") for name in sorted(tree.others)]
    for name in names:
        try:
            name.encode()
            check_relative(name)
        except ValueError:
            refused.append(_refusal(staging, name, "has a name that not every store can keep"))
    if refused:
        raise UserError(refused, exit_code=ExitCode.TRAINING_FAILED)
    digests = digest_files(staging, names, sync=True)
    return tuple(ManifestFile(path=name, size=digest.size, checksum=digest.checksum) for name, digest in digests.items())


def _refusal(staging: Path, name: str, why: str) -> Problem:
    shown = name.encode(errors="backslashreplace").decode()
    return Problem(
        code="unsupported-file", message=f"{shown!r} {why}", place=str(staging), fix="write plain files with plain names into a checkpoint"
    )


def _make_way(final: Path) -> Path | None:
    """Move what is in the way and is no checkpoint to another name; returns the one to delete afterwards, if any."""
    if not final.exists() and not final.is_symlink():
        return None
    try:
        broken = [problem for problem in verify(final, read_manifest(final)) if problem.code != "extra-file"]
    except UserError as error:
        broken = list(error.problems)
    codes = {problem.code for problem in broken}
    # A checkpoint of another version of this program is not broken because this version cannot read it.
    if not broken or codes & {"newer-format", "older-format"}:
        raise UserError(
            Problem(
                code="already-sealed",
                message="a sealed checkpoint is already here and is never overwritten",
                place=str(final),
                fix="resume from it, or remove it first",
            ),
            exit_code=ExitCode.TRAINING_FAILED,
        )
    if not codes <= DAMAGE | {"unsealed"}:
        raise UserError(broken, exit_code=ExitCode.TRAINING_FAILED)
    if "unsealed" in codes:
        # Not written by a seal, so perhaps somebody's own files: kept, under a name that says so.
        final.rename(final.parent / work_name(f"{final.name}.set-aside-"))
        return None
    trash = final.parent / work_name(TRASH_PREFIX)
    final.rename(trash)
    return trash
