"""Which sealed checkpoints to keep, and deleting the others so that none is ever half there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from runtime.checkpoint.disk import explained, remove_tree, sync_folder
from runtime.checkpoint.layout import CHECKPOINTS, MANIFEST, step_folder, step_of
from runtime.checkpoint.manifest import Manifest, read_manifest, verify
from runtime.checkpoint.owner import work_name
from runtime.checkpoint.stored import RunStore, file_key
from runtime.checkpoint.tree import TRASH_PREFIX
from runtime.config.problem import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What survives: the newest `last` (all when None), every step that `every` divides, and the steps in `best`."""

    last: int | None = None
    every: int | None = None
    best: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.last is not None and self.last < 1:
            raise ValueError(f"at least one checkpoint is kept, not {self.last}")
        if self.every is not None and self.every < 1:
            raise ValueError(f"every K-th needs K of at least 1, not {self.every}")


def superfluous(steps: Iterable[int], keep: Keep) -> tuple[int, ...]:
    """The steps that `keep` does not keep, oldest first; never the newest."""
    ordered = sorted(set(steps))
    if keep.last is None:
        return ()
    recent = set(ordered[-keep.last :])
    return tuple(step for step in ordered if step not in recent and step not in keep.best and not (keep.every and step % keep.every == 0))


def prune(checkpoints: Path, keep: Keep, *, protected: Collection[Path] = ()) -> tuple[Path, ...]:
    """Delete the sealed checkpoints in `checkpoints` that `keep` does not keep; returns those deleted, oldest first.

    Only folders whose files are all there in their sizes count, so a broken newest one never costs the last good one. Broken ones are left for
    people to look at. `protected` folders (being uploaded, being read) stay. Raises UserError when the disk refuses.
    """
    guarded = {path.absolute() for path in protected}
    whole = {step: folder for step, folder in _step_folders(checkpoints) if _is_whole(folder)}
    removed: list[Path] = []
    for step in superfluous(whole, keep):
        if whole[step].absolute() not in guarded:
            discard(whole[step])
            removed.append(whole[step])
    return tuple(removed)


def discard(folder: Path) -> None:
    """Delete one sealed folder: it loses its name in one step, then its manifest, then the rest. Raises UserError when the disk refuses.

    After a kill in between, `sweep_staging` finishes the work.
    """
    trash = folder.parent / work_name(TRASH_PREFIX)
    with explained(folder):
        folder.rename(trash)
        sync_folder(folder.parent)
        remove_tree(trash, first=MANIFEST)


def prune_stored(place: RunStore, keep: Keep, *, attempt: int) -> tuple[int, ...]:
    """Delete from a store the checkpoints that `keep` does not keep, and what dead attempts left below them; returns the steps deleted.

    A checkpoint's manifest goes first, so a kill in between leaves objects that nothing names and that the next call removes. An object that a
    remaining manifest names stays, wherever it is. Left-over objects are removed only below the newest sealed step and only when an attempt
    before `attempt` wrote them: a writer that still lives may be about to name its own. Raises OSError, UserError from the store.
    """
    prefix = place.key(f"{CHECKPOINTS}/")
    sizes = {stat.key: stat.size for stat in place.store.list(prefix)}
    sealed = {step: key for key in sizes if (step := _step_of_manifest(key.removeprefix(prefix))) is not None}
    manifests = {step: manifest for step in sealed if (manifest := _stored_manifest(place, step)) is not None}
    whole = {
        step
        for step, manifest in manifests.items()
        if all(sizes.get(file_key(place, manifest, file)) == file.size for file in manifest.files)
    }
    doomed = superfluous(whole, keep)
    for step in doomed:
        place.store.delete(sealed[step])
    named = {file_key(place, manifest, file) for step, manifest in manifests.items() if step not in doomed for file in manifest.files}
    newest = max(whole, default=0)
    for key in sorted(sizes.keys() - named - set(sealed.values())):
        folder, _, rest = key.removeprefix(prefix).partition("/")
        below, owner = step_of(folder), rest.partition("-")[0]
        if below in doomed or (below is not None and below < newest and owner.isdecimal() and int(owner) < attempt):
            place.store.delete(key)
    return doomed


def _step_of_manifest(relative: str) -> int | None:
    folder, _, rest = relative.partition("/")
    return step_of(folder) if rest == MANIFEST else None


def _stored_manifest(place: RunStore, step: int) -> Manifest | None:
    """The manifest of a stored step; None when it is broken, which is for people to look at, not for us to delete."""
    try:
        return place.manifest(f"{CHECKPOINTS}/{step_folder(step)}")
    except (FileNotFoundError, UserError):
        return None


def _step_folders(checkpoints: Path) -> list[tuple[int, Path]]:
    with explained(checkpoints):
        try:
            entries = list(checkpoints.iterdir())
        except FileNotFoundError:
            return []
    return [(step, entry) for entry in entries if (step := step_of(entry.name)) is not None and not entry.is_symlink()]


def _is_whole(folder: Path) -> bool:
    try:
        manifest = read_manifest(folder)
    except UserError:
        return False
    return manifest.step == step_of(folder.name) and all(problem.code == "extra-file" for problem in verify(folder, manifest, deep=False))
