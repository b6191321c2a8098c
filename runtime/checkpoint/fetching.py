"""Copying a checkpoint to this machine, verified as it arrives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from runtime.checkpoint.checksum import THREADS
from runtime.checkpoint.disk import copy_file, explained, make_folder, sync_file
from runtime.checkpoint.manifest import Manifest, ManifestFile, difference, read_manifest, verify
from runtime.checkpoint.patience import patiently
from runtime.checkpoint.sealing import place_sealed
from runtime.checkpoint.staging import open_staging
from runtime.checkpoint.stored import RunStore, file_key
from runtime.config.problem import ExitCode, Problem, UserError


def copy_sealed(source: Path | RunStore, manifest: Manifest, into: Path, *, near: Path | None = None, sync: bool = True) -> Manifest:
    """The manifest of `into`, now a sealed copy of the checkpoint `manifest` that is in the folder or store `source`.

    Several files are copied at once and every byte is summed as it arrives; the folder appears only when all of them match. A folder there that
    holds the same content is taken as it is, one that does not verify is replaced. A file that the folder `near` on this disk has too is copied from there.
    With `sync` all is on the disk on return. Without, a power loss may damage the copy, which its checksums tell: for who has the source still, and reads what is
    here as a whole before it is trusted.
    Raises UserError: `missing-file`, `wrong-size`,
    `wrong-checksum` when the source is damaged, `already-sealed` when another checkpoint is there, `store-unreachable`, and the disk's codes.
    """
    local = manifest.model_copy(update={"files": tuple(file.model_copy(update={"key": None}) for file in manifest.files)})
    if holds(into, local):
        return local
    with open_staging(into.parent, needed_bytes=local.total_bytes) as staging:
        with explained(into.parent, needed=local.total_bytes), ThreadPoolExecutor(THREADS, thread_name_prefix="fetch") as pool:
            results = pool.map(lambda file: _copy(source, manifest, file, staging, near, sync=sync), manifest.files)
            problems = [problem for problem in results if problem is not None]
        if problems:
            raise UserError(problems, exit_code=ExitCode.NOT_VERIFIED)
        with explained(into.parent):
            place_sealed(staging, into, local)
    return local


def holds(folder: Path, manifest: Manifest) -> bool:
    """Whether `folder` is sealed with the content of `manifest` and verifies, every byte read."""
    try:
        present = read_manifest(folder)
    except UserError:
        return False
    return present.same_content(manifest) and all(problem.code == "extra-file" for problem in verify(folder, present))


def _copy(
    source: Path | RunStore, manifest: Manifest, file: ManifestFile, staging: Path, near: Path | None, *, sync: bool
) -> Problem | None:
    """Copies one file; returns what is wrong with it at the source."""
    target = staging / file.path
    make_folder(target.parent)
    if near is not None and _copy_near(near / file.path, target, file, sync=sync):
        return None
    address = str(source / file.path) if isinstance(source, Path) else source.store.url(file_key(source, manifest, file))

    def once() -> Problem | None:
        target.unlink(missing_ok=True)
        if isinstance(source, Path):
            return difference(file, copy_file(source / file.path, target, sync=sync), address)
        wrong = difference(file, source.store.get_file(file_key(source, manifest, file), target), address)
        if sync and wrong is None:
            sync_file(target)
        return wrong

    def ask() -> Problem | None:
        return patiently(once, address) if isinstance(source, Path) else source.patiently(once, address)

    try:
        # Damage on the way looks like damage at the source, so a bad copy is made once more before the source is blamed.
        return ask() and ask()
    except FileNotFoundError:
        return Problem(code="missing-file", message=f"{file.path} is missing", place=address)


def _copy_near(source: Path, target: Path, file: ManifestFile, *, sync: bool) -> bool:
    """Whether `target` holds the file now, from `source`, which may be anything or nothing."""
    # Where it is this disk that refuses to be written, the copy from the source says so.
    with suppress(OSError):
        if source.stat().st_size == file.size and difference(file, copy_file(source, target, sync=sync), str(source)) is None:
            return True
    target.unlink(missing_ok=True)
    return False
