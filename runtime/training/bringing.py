"""How a whole checkpoint comes to every machine of a run whose machines have disks of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.checkpoint.disk import explained, make_folder
from runtime.checkpoint.fetching import copy_sealed, holds
from runtime.checkpoint.layout import CHECKPOINTS, step_folder
from runtime.checkpoint.manifest import DAMAGE, Manifest, is_sealed, read_manifest
from runtime.checkpoint.owner import work_name
from runtime.checkpoint.retention import discard
from runtime.checkpoint.storing import LostError, NotUploadableError, seal_in_store
from runtime.checkpoint.transit import told
from runtime.checkpoint.tree import TRASH_PREFIX
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from runtime.checkpoint.follower import Follower
    from runtime.checkpoint.stored import RunStore
    from runtime.checkpoint.upload import Uploader
    from runtime.training.company import Company
    from runtime.training.job import Job
    from runtime.training.resume import Start

# How long the end of a run waits for the checkpoint whose model becomes the final one.
_BEST_WAIT_S = 3600.0


def bring_start(start: Start, job: Job, company: Company, store: RunStore | None) -> Start:
    """`start`, as the head has found it, with its checkpoint on this machine too, from the run's store. Every process must call it.

    What machines hold of steps of an earlier life is used for that and dropped: what was not sealed in the store is trained again. Raises UserError, on all
    processes, when the checkpoint cannot be brought to one of them.
    """
    if not company.disk.apart:
        return start
    if start.checkpoint is not None:
        found = start.checkpoint
        own, manifest = job.rank.led(lambda: (found.parent == job.folder.checkpoints, _sealed(found)))
        target = job.folder.checkpoint(start.step) if own else found
        missing = bool(job.rank.together((lambda: not _has(target, manifest)) if company.serves and not job.rank.is_main else None))
        if any(job.rank.gather(missing)):
            if manifest is None:
                raise UserError(_not_everywhere(target))
            stored = job.rank.led(lambda: _in_store(store, target, manifest, company))
            if not stored.same_content(manifest):
                # The head's own one is of a life that went another way.
                missing = bool(job.rank.together((lambda: not holds(target, stored)) if company.serves else None))
            job.rank.together((lambda: _fetch(store, stored, target, job)) if missing else None)
        start = replace(start, checkpoint=target)
    job.rank.together((lambda: _drop_portions(job)) if company.serves else None)
    return start


def bring_whole(step: int, job: Job, company: Company, store: RunStore | None, uploader: Uploader | Follower | None) -> bool:
    """Whether the checkpoint of `step`, which this run has saved, is whole on this machine now; the same answer everywhere. Every process must call it.

    What this disk has not, or has damaged, is brought from the store: it may be of an earlier life, on another machine. One that was passed over for newer
    ones is sent now, where all machines still hold their portions. Raises UserError as `copy_sealed`, on all processes.
    """
    rank, folder = job.rank, job.folder
    if not company.disk.apart:
        return bool(rank.led(lambda: _bring_here(step, job, store)))
    stored: Manifest | None = rank.led(lambda: _stored(store, step))
    if stored is None:
        held = not company.serves or is_sealed(folder.portion(step))
        if not all(rank.gather(held)):
            return False
        _send_now(step, job, uploader)
        stored = rank.led(lambda: _stored(store, step))
    if stored is None:
        return False
    rank.together((lambda: _fetch(store, stored, folder.checkpoint(step), job)) if company.serves else None)
    return True


def _bring_here(step: int, job: Job, store: RunStore | None) -> bool:
    target = job.folder.checkpoint(step)
    if (own := _sealed(target)) is not None and own.step == step and holds(target, own):
        return True
    stored = _stored(store, step)
    if stored is None or stored.step != step:
        return False
    try:
        _fetch(store, stored, target, job)
    except UserError as error:
        if any(problem.code not in DAMAGE for problem in error.problems):
            raise
        return False
    return True


def _send_now(step: int, job: Job, uploader: Uploader | Follower | None) -> None:
    from runtime.checkpoint.upload import Uploader

    if isinstance(uploader, Uploader):
        # What is on its way, or next, would be passed over for this one.
        uploader.flush(_BEST_WAIT_S)
    elif uploader is not None:
        uploader.submit(job.folder.portion(step), step=step)
    job.rank.barrier()
    if isinstance(uploader, Uploader):
        uploader.submit(job.folder.portion(step))
        uploader.flush(_BEST_WAIT_S)


def _has(checkpoint: Path, manifest: Manifest | None) -> bool:
    return holds(checkpoint, manifest) if manifest is not None else (checkpoint / "trainer_state.json").is_file()


def _sealed(checkpoint: Path) -> Manifest | None:
    return read_manifest(checkpoint) if is_sealed(checkpoint) else None


def _stored(store: RunStore | None, step: int) -> Manifest | None:
    with suppress(FileNotFoundError, UserError):
        return None if store is None else _ask(store, f"{CHECKPOINTS}/{step_folder(step)}")
    return None


def _in_store(store: RunStore | None, checkpoint: Path, manifest: Manifest, company: Company) -> Manifest:
    """The manifest of that step in the store: of the head's own sealed `checkpoint`, which is sent there when it has never been, or of another one that
    this very training has sealed there, from other machines."""
    assert store is not None
    name = f"{CHECKPOINTS}/{step_folder(manifest.step)}"
    with suppress(FileNotFoundError):
        stored = _ask(store, name)
        if stored.same_content(manifest) or _is_of_this_training(stored, manifest):
            return stored
    try:
        return store.patiently(
            lambda: seal_in_store(store, checkpoint, writer=f"{company.writer}-{manifest.content_mark}"), store.url(name)
        )
    except LostError as error:
        raise UserError(
            Problem(
                code="conflict",
                place=store.url(name),
                message=f"the storage has another checkpoint of step {manifest.step} than {checkpoint}, which not all machines have",
                fix="remove one of the two, or use another storage or another name of the run",
            )
        ) from error
    except NotUploadableError as error:
        raise UserError(error.problem) from error


def _fetch(store: RunStore | None, stored: Manifest, target: Path, job: Job) -> Manifest:
    assert store is not None
    with explained(target):
        make_folder(target.parent)
    before = _set_aside(target, stored) if target.parent == job.folder.checkpoints else None
    try:
        with told(job.progress.say, "restoring") as transit:
            fetched = copy_sealed(store, stored, target, near=job.folder.portion(stored.step), sync=False, transit=transit)
    except BaseException:
        if before is not None:
            before.rename(target)
        raise
    if before is not None:
        discard(before)
    return fetched


def _set_aside(target: Path, stored: Manifest) -> Path | None:
    """Where the checkpoint went that is in the way of `stored`: this disk has been away, and what it holds of that step is of an earlier life."""
    try:
        present = _sealed(target)
    except UserError:
        # Damaged: it makes way by itself.
        return None
    if present is None or present.same_content(stored) or not _is_of_this_training(present, stored):
        return None
    return target.rename(target.parent / work_name(TRASH_PREFIX))


def _is_of_this_training(one: Manifest, other: Manifest) -> bool:
    return (one.run, one.step, one.kind, one.config_hash) == (other.run, other.step, other.kind, other.config_hash)


def _drop_portions(job: Job) -> None:
    for folder in sorted(job.folder.portions.glob("step-*")):
        discard(folder)


def _ask(store: RunStore, name: str) -> Manifest:
    ask: Callable[[], Manifest] = lambda: store.manifest(name)  # noqa: E731
    return store.patiently(ask, store.url(name))


def _not_everywhere(target: Path) -> Problem:
    return Problem(
        code="missing-file",
        path="resume_from_checkpoint",
        place=str(target),
        message="not every machine of this run has this checkpoint, and it carries no manifest by which it could be brought there",
        fix="name a sealed checkpoint, or put it into the same place on every machine",
    )
