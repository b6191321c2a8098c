"""A run in a store: the keys of its checkpoints, their manifests, and whether what the store holds matches them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from runtime.checkpoint.checksum import THREADS, Digest
from runtime.checkpoint.folders import folders_with
from runtime.checkpoint.layout import CHECKPOINTS, FINAL, MANIFEST, MERGED, WEIGHTS, step_folder, step_of
from runtime.checkpoint.manifest import DAMAGE, MAX_MANIFEST_BYTES, Manifest, ManifestFile, difference, parse_manifest
from runtime.checkpoint.patience import SHORT, Patience, patiently
from runtime.checkpoint.store import Store, digest_object, get_bytes
from runtime.checkpoint.transit import Transit
from runtime.config.problem import Problem, UserError

Result = TypeVar("Result")

# Damage on the way looks like damage at the store: what does not verify is read again before the store is blamed.
_READS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStore:
    """The part of a store that belongs to one run; laid out as the run's folder is."""

    store: Store
    run: str
    patience: Patience = field(default=SHORT, compare=False)
    """With the store when it is read: a training that waits unseen has more of it than a person."""
    sent: Transit = field(default_factory=Transit, compare=False, repr=False)
    """What has left for the store, where who opened it has that counted."""

    def key(self, relative: str) -> str:
        """The store's key of a path below the run."""
        return f"{self.run}/{relative}"

    def url(self, relative: str = "") -> str:
        """The address of a path below the run."""
        return self.store.url(self.key(relative) if relative else self.run)

    def patiently(self, ask: Callable[[], Result], place: str | None = None) -> Result:
        """What `ask` returns, asked again while it fails in a way that may pass. Raises UserError `store-unreachable` naming `place`, or the run."""
        return patiently(ask, place or self.url(), self.patience)

    def manifest(self, folder: str) -> Manifest:
        """The manifest of `checkpoints/step-…` or `final`. Raises FileNotFoundError, OSError, UserError as `parse_manifest`."""
        key = self.key(f"{folder}/{MANIFEST}")
        for left in reversed(range(_READS)):
            content = get_bytes(self.store, key, limit=MAX_MANIFEST_BYTES)
            try:
                return parse_manifest(content, place=self.store.url(key))
            except UserError as error:
                if not left or any(problem.code not in DAMAGE for problem in error.problems):
                    raise
        raise AssertionError("the last reading returns or raises")

    def has_manifest(self, step: int) -> bool:
        """Whether there is a manifest of the step. Raises as Store.stat."""
        return self.store.stat(self.key(f"{CHECKPOINTS}/{step_folder(step)}/{MANIFEST}")) is not None

    def folders(self) -> list[int]:
        """The steps that have a folder, the newest first; one that was emptied may be among them. Raises as Store.folders."""
        names = self.store.folders(self.key(f"{CHECKPOINTS}/"))
        return sorted((step for name in names if (step := step_of(name)) is not None), reverse=True)

    def steps(self) -> dict[int, bool]:
        """The steps that have objects, and whether each has a manifest. Raises as Store.list and Store.folders."""
        prefix = self.key(f"{CHECKPOINTS}/")
        found = folders_with(self.store, prefix, MANIFEST, wanted=lambda name: step_of(name) is not None)
        return {step: sealed for name, sealed in found.items() if (step := step_of(name)) is not None}


def newest_step(place: RunStore) -> int | None:
    """The run's newest step that has a manifest, which is not read; None when there is none. Raises as Store.folders."""
    return next((step for step in place.folders() if place.has_manifest(step)), None)


def newest_manifest(place: RunStore) -> Manifest | None:
    """The manifest of the run's newest step that has one; None when there is none, or it is broken. Its objects are not looked at. Raises as Store.folders."""
    for step in place.folders():
        try:
            return place.manifest(f"{CHECKPOINTS}/{step_folder(step)}")
        except FileNotFoundError:
            continue
        except UserError:
            return None
    return None


def folder_name(manifest: Manifest) -> str:
    """Where a checkpoint, or a portion of one, belongs below its run: `checkpoints/step-00000040`, `final`, `final/merged`, `weights`."""
    if manifest.kind in ("checkpoint", "portion"):
        return f"{CHECKPOINTS}/{step_folder(manifest.step)}"
    return {"final": FINAL, "merged": MERGED, "weights": WEIGHTS}[manifest.kind]


def file_key(place: RunStore, manifest: Manifest, file: ManifestFile) -> str:
    """The store's key of one of the checkpoint's files."""
    return place.key(file.key or f"{folder_name(manifest)}/{file.path}")


def verify_stored(place: RunStore, manifest: Manifest, *, deep: bool = True) -> tuple[Problem, ...]:
    """Everything in which the store differs from `manifest`: `missing-file`, `wrong-size`, `wrong-checksum`.

    With `deep` every object is read back; without, only sizes are compared. Raises UserError `store-unreachable`, and those of the store.
    """
    listed = {} if deep else place.patiently(lambda: _sizes(place, manifest))
    # A list may be older than the object, so it can say that all is well and nothing else.
    doubtful = [file for file in manifest.files if listed.get(file_key(place, manifest, file)) != file.size]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="verify") as pool:
        problems = pool.map(lambda file: place.patiently(lambda: _check(place, manifest, file, deep=deep)), doubtful)
        return tuple(problem for problem in problems if problem is not None)


def _sizes(place: RunStore, manifest: Manifest) -> dict[str, int]:
    """Bytes of every object beside the checkpoint's own, in a request or two instead of one for each file."""
    folders = {file_key(place, manifest, file).removesuffix(file.path) for file in manifest.files}
    return {stat.key: stat.size for folder in folders if folder.endswith("/") for stat in place.store.list(folder)}


def _check(place: RunStore, manifest: Manifest, file: ManifestFile, *, deep: bool) -> Problem | None:
    key = file_key(place, manifest, file)
    address = place.store.url(key)
    stat = place.store.stat(key)
    if stat is None:
        return Problem(code="missing-file", message=f"{file.path} is missing", place=address)
    if not deep or stat.size != file.size:
        return difference(file, Digest(size=stat.size, checksum=file.checksum), address)
    try:
        for _ in range(_READS):
            if (problem := difference(file, digest_object(place.store, key), address)) is None:
                return None
    except FileNotFoundError:
        return Problem(code="missing-file", message=f"{file.path} is missing", place=address)
    return problem
