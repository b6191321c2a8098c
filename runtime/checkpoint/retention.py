"""Which sealed checkpoints to keep, and deleting the others so that none is ever half there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from runtime.checkpoint.disk import explained, remove_tree, sync_folder
from runtime.checkpoint.layout import CHECKPOINTS, MANIFEST, step_folder, step_of
from runtime.checkpoint.manifest import Manifest, read_manifest, verify
from runtime.checkpoint.owner import work_name
from runtime.checkpoint.stored import RunStore, file_key
from runtime.checkpoint.tree import TRASH_PREFIX
from runtime.config.problem import UserError

# What may be refused of one object and not of the next: a hold, a lease, a snapshot that somebody made.
_ONE_ALONE = frozenset({"store-refused", "no-permission"})


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


def prune(
    checkpoints: Path, keep: Keep, *, beside: Path | None = None, protected: Collection[Path] = (), sealed: int | None = None
) -> tuple[Path, ...]:
    """Delete the sealed checkpoints in `checkpoints` that `keep` does not keep; returns those deleted, oldest first. The steps of a second folder
    `beside` it count along, and go alike.

    Only folders whose files are all there in their sizes count, so a broken newest one never costs the last good one. Broken ones are left for
    people to look at. `protected` folders (being uploaded, being read) stay. Steps beyond `sealed`, which the caller has just sealed, neither count nor
    go: a resume passed over them because they are broken, which their sizes need not show. Raises UserError when the disk refuses.
    """
    guarded = {path.absolute() for path in protected}
    there = [found for place in (checkpoints, beside) if place is not None for found in _step_folders(place)]
    whole = [(step, folder) for step, folder in there if (sealed is None or step <= sealed) and _is_whole(folder)]
    removed: list[Path] = []
    for doomed in superfluous((step for step, _ in whole), keep):
        for folder in (folder for step, folder in whole if step == doomed and folder.absolute() not in guarded):
            discard(folder)
            removed.append(folder)
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


def prune_stored(
    place: RunStore,
    keep: Keep,
    *,
    attempt: int,
    writer: str | None = None,
    sealed: int | None = None,
    guard: Callable[[], None] = lambda: None,
) -> tuple[int, ...]:
    """Delete from a store the checkpoints that `keep` does not keep, and what dead attempts left below them; returns the steps deleted.

    Only steps up to `sealed`, which the caller has just sealed, are counted and deleted: a newer one is another writer's, or was passed over as broken
    when this run was resumed, and may not cost the one that is known to be good. A checkpoint's manifest goes first, so a kill in between leaves objects
    that nothing names and that a later attempt removes. An object that a remaining manifest names stays, wherever it is. Left-over objects are removed
    only below the newest sealed step and only when an attempt before `attempt` wrote them, or this very `writer`, the beginning of the names it uses, who
    has given up what it has not sealed by now: another writer that still lives may be about to name its own.
    `guard` is called before each deletion and raises when this writer may go on no more. Raises OSError, UserError from the store, and what `guard`
    raises; what the store refuses of single objects once the others are gone.
    """
    prefix = place.key(f"{CHECKPOINTS}/")
    sizes = {stat.key: stat.size for stat in place.store.list(prefix)}
    keys = {step: key for key in sizes if (step := _step_of_manifest(key.removeprefix(prefix))) is not None}
    with ThreadPoolExecutor(place.store.capabilities.together, thread_name_prefix="prune") as pool:
        read = dict(zip(keys, pool.map(lambda step: _stored_manifest(place, step), keys), strict=True))
    manifests = {step: manifest for step, manifest in read.items() if manifest is not None}
    whole = {
        step
        for step, manifest in manifests.items()
        if (manifest.kind, manifest.step) == ("checkpoint", step)
        and (sealed is None or step <= sealed)
        and all(sizes.get(file_key(place, manifest, file)) == file.size for file in manifest.files)
    }
    refusals: list[UserError] = []

    def delete(key: str) -> bool:
        """Whether it is gone. One that somebody keeps from being deleted keeps no other one here."""
        guard()
        try:
            place.store.delete(key)
        except UserError as error:
            if any(problem.code not in _ONE_ALONE for problem in error.problems):
                raise
            refusals.append(error)
            return False
        return True

    doomed = tuple(step for step in superfluous(whole, keep) if delete(keys[step]))
    named = {step: {file_key(place, manifest, file) for file in manifest.files} for step, manifest in manifests.items()}
    kept = {key for step in named.keys() - set(doomed) for key in named[step]} | set(keys.values())
    unnamed = {key for step in doomed for key in named[step] & sizes.keys()}
    newest = max(whole, default=0)
    left: dict[int, set[str]] = {}
    for key in sizes:
        folder, _, rest = key.removeprefix(prefix).partition("/")
        below, owner = step_of(folder), rest.partition("-")[0]
        given_up = (owner.isdecimal() and int(owner) < attempt) or (writer is not None and rest.startswith(f"{writer}-"))
        if below is not None and below < newest and given_up and key not in kept:
            left.setdefault(below, set()).add(key)
    for step, found in left.items():
        # What a manifest names that could not be read, or only not now, or that an old list does not show, is not known to be left over.
        if step in manifests or (step not in keys and place.store.stat(f"{prefix}{step_folder(step)}/{MANIFEST}") is None):
            unnamed |= found

    with ThreadPoolExecutor(place.store.capabilities.together, thread_name_prefix="prune") as pool:
        for _ in pool.map(delete, sorted(unnamed - kept)):
            pass
    if refusals:
        raise refusals[0]
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
