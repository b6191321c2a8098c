"""Sending a run's sealed folders to its store while training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from runtime.checkpoint.bandwidth import bandwidth
from runtime.checkpoint.lease import TTL_S, Lease
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.upload import Uploader
from runtime.checkpoint.word import lasting_word
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.training.job import Job
from runtime.training.outage import Outage

# How long the end of a run waits for what is still being sent, seconds.
FINAL_WAIT_S = 3600.0
STOP_WAIT_S = 60.0


def open_run_store(config: Any, run: str) -> RunStore | None:
    """This run's part of `launch.storage`, None when the recipe has none. Raises UserError for an address that cannot be used."""
    if config.launch.storage is None:
        return None
    from runtime.checkpoint.opening import open_store

    limit = bandwidth(config.launch.upload_mb_per_s)
    return RunStore(store=open_store(config.launch.storage, bandwidth=limit), run=run)


def watched_store(job: Job) -> RunStore | None:
    """As `open_run_store`, for a training: it has patience with a store that does not answer, and says so."""
    store = open_run_store(job.config, job.run)
    if store is None:
        return None
    outage = Outage(say=job.progress.say, emit=job.emit, called_off=lambda: job.stop.requested)
    if job.events is not None:
        job.events.listeners.append(outage.hear)
    return replace(store, patience=outage.patience)


@contextmanager
def sending(job: Job, store: RunStore | None) -> Iterator[Uploader | None]:
    """The uploader of this process while a block runs; None without a store. What is unsent when the block fails is given a little time."""
    if store is None:
        yield None
        return
    # What the store honours, and whether it lets us write, is found out before hours of training depend on it.
    store.patiently(lambda: store.store.capabilities)
    attempt = job.surroundings.attempt
    word = lasting_word(job.folder.path, attempt=attempt)
    uploader = Uploader(store, attempt=attempt, word=word, on_event=job.emit, lease=Lease(store, attempt=attempt, ttl_s=_lease_s(store)))
    try:
        yield uploader
    except BaseException:
        uploader.flush(STOP_WAIT_S)
        raise
    finally:
        uploader.close()
        _send_notes(job, store)


def _lease_s(store: RunStore) -> float:
    """How long the lease holds unrenewed: each renewal is a commit where changes are, and the Hub takes only so many an hour."""
    return 6 * TTL_S if store.store.capabilities.commits else TTL_S


def await_sent(job: Job, uploader: Uploader | None, *, patience_s: float) -> bool:
    """Whether everything submitted is in the store, waiting at most `patience_s` seconds for it."""
    if uploader is None:
        return True
    if uploader.protected:
        job.progress.say("waiting for the upload to end")
    return uploader.flush(patience_s)


def require_sent(job: Job, uploader: Uploader | None) -> None:
    """Nothing, once the final model is in the store. Raises UserError (exit 7) when the store does not take it."""
    if await_sent(job, uploader, patience_s=FINAL_WAIT_S):
        return
    assert uploader is not None
    raise UserError(
        uploader.fenced
        or Problem(
            code="not-uploaded",
            path="launch.storage",
            place=str(job.config.launch.storage),
            message=f"the model is trained and sealed in {job.folder.final}, but the store did not take it",
            fix="see upload_retry in events.jsonl; "
            + (
                f"`launcher publish {job.run}` sends it again"
                if job.surroundings.run is not None
                else "run the same command again to send it"
            ),
        ),
        exit_code=ExitCode.NOT_VERIFIED,
    )


def _send_notes(job: Job, store: RunStore) -> None:
    """Copy the run's small files beside its checkpoints. They are for people, so a store that does not take them is no failure."""
    for name in ("config.yml", "run.json", "events.jsonl"):
        source = job.folder.path / name
        if source.is_file():
            with suppress(OSError, UserError):
                store.store.put_file(store.key(name), source)
