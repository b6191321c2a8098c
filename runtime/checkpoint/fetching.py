"""Copying a checkpoint to this machine, verified as it arrives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.checkpoint.checksum import THREADS, Digest
from runtime.checkpoint.disk import copy_file, explained, make_folder, sync_file
from runtime.checkpoint.manifest import Manifest, ManifestFile, difference, read_manifest, verify
from runtime.checkpoint.patience import patiently
from runtime.checkpoint.sealing import place_sealed
from runtime.checkpoint.staging import open_staging
from runtime.checkpoint.stored import RunStore, file_key
from runtime.checkpoint.transit import Share, Transit
from runtime.config.problem import ExitCode, Problem, UserError


def copy_sealed(
    source: Path | RunStore, manifest: Manifest, into: Path, *, near: Path | None = None, sync: bool = True, transit: Transit | None = None
) -> Manifest:
    """The manifest of `into`, now a sealed copy of the checkpoint `manifest` that is in the folder or store `source`.

    Several files are copied at once and every byte is summed as it arrives; the folder appears only when all of them match. A folder there that
    holds the same content is taken as it is, one that does not verify is replaced. A file that the folder `near` on this disk has too is copied from there.
    With `sync` all is on the disk on return. Without, a power loss may damage the copy, which its checksums tell: for who has the source still, and reads what is
    here as a whole before it is trusted. `transit` is told of what moves.
    Raises UserError: `missing-file`, `wrong-size`,
    `wrong-checksum` when the source is damaged, `already-sealed` when another checkpoint is there, `store-unreachable`, and the disk's codes.
    """
    local = manifest.model_copy(update={"files": tuple(file.model_copy(update={"key": None}) for file in manifest.files)})
    if holds(into, local):
        return local
    transit = Transit() if transit is None else transit
    transit.expect(local.total_bytes)
    with open_staging(into.parent, needed_bytes=local.total_bytes) as staging:
        copier = _Copier(source=source, manifest=manifest, staging=staging, near=near, sync=sync, transit=transit)
        with explained(into.parent, needed=local.total_bytes), ThreadPoolExecutor(THREADS, thread_name_prefix="fetch") as pool:
            problems = [problem for problem in pool.map(copier.copy, manifest.files) if problem is not None]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copier:
    """Copies the files of a checkpoint, in several threads."""

    source: Path | RunStore
    manifest: Manifest
    staging: Path
    near: Path | None
    sync: bool
    transit: Transit

    def copy(self, file: ManifestFile) -> Problem | None:
        """Copies one file; returns what is wrong with it at the source."""
        target, share = self.staging / file.path, self.transit.share(file.size)
        make_folder(target.parent)
        if self.near is not None and self._copy_near(self.near / file.path, target, file):
            share.end()
            return None
        address = self._address(file)

        def once() -> Problem | None:
            target.unlink(missing_ok=True)
            share.begin()
            return difference(file, self._bring(file, target, share), address)

        def ask() -> Problem | None:
            return patiently(once, address) if isinstance(self.source, Path) else self.source.patiently(once, address)

        try:
            # Damage on the way looks like damage at the source, so a bad copy is made once more before the source is blamed.
            wrong = ask() and ask()
        except FileNotFoundError:
            wrong = Problem(code="missing-file", message=f"{file.path} is missing", place=address)
        share.end()
        return wrong

    def _address(self, file: ManifestFile) -> str:
        return str(self.source / file.path) if isinstance(self.source, Path) else self.source.store.url(self._key(file))

    def _bring(self, file: ManifestFile, target: Path, share: Share) -> Digest:
        if isinstance(self.source, Path):
            return copy_file(self.source / file.path, target, sync=self.sync, passing=share.add)
        digest = self.source.store.get_file(self._key(file), target, arrived=share.add)
        if self.sync:
            sync_file(target)
        return digest

    def _key(self, file: ManifestFile) -> str:
        assert isinstance(self.source, RunStore)
        return file_key(self.source, self.manifest, file)

    def _copy_near(self, near: Path, target: Path, file: ManifestFile) -> bool:
        """Whether `target` holds the file now, from `near`, which may be anything or nothing."""
        # Where it is this disk that refuses to be written, the copy from the source says so.
        with suppress(OSError):
            if near.stat().st_size == file.size and difference(file, copy_file(near, target, sync=self.sync), str(near)) is None:
                return True
        target.unlink(missing_ok=True)
        return False
