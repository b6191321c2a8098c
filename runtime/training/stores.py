"""Sending a run's sealed folders to its store while training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import TIMEOUT_MAX
from typing import Any

from runtime.checkpoint.bandwidth import bandwidth
from runtime.checkpoint.follower import Follower
from runtime.checkpoint.layout import PORTIONS, STORED
from runtime.checkpoint.lease import TTL_S, Lease
from runtime.checkpoint.others import Others
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.transit import Counted, Transit
from runtime.checkpoint.upload import Uploader
from runtime.checkpoint.word import lasting_word
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.events import Event, EventLog, OnEvent
from runtime.record import write_atomic
from runtime.training.company import Company
from runtime.training.job import Job
from runtime.training.outage import Outage
from runtime.training.unsent import wait_sent

# How long the end of a run waits for what is still being sent once nothing moves, seconds; and how long it does when it was stopped.
FINAL_WAIT_S = 3600.0
STOP_WAIT_S = 60.0


def open_run_store(config: Any, run: str) -> RunStore | None:
    """This run's part of `launch.storage`, None when the recipe has none. Raises UserError for an address that cannot be used."""
    if config.launch.storage is None:
        return None
    from runtime.checkpoint.opening import open_store

    sent = Transit()
    limit = Counted(bandwidth(config.launch.upload_mb_per_s), sent)
    return RunStore(store=open_store(config.launch.storage, bandwidth=limit), run=run, sent=sent)


def watched_store(job: Job, run: str) -> RunStore | None:
    """As `open_run_store`, for a training: it has patience with a store that does not answer, and says so."""
    store = open_run_store(job.config, run)
    if store is None:
        return None
    outage = Outage(say=job.progress.say, emit=job.emit, called_off=lambda: job.stop.requested)

    def hear(event: Event) -> None:
        outage.hear(event)
        if event["kind"] == "fenced":
            # The next save says that this run is another process's now; what is trained until then is in vain.
            job.stop.save_soon = True

    if job.events is not None:
        job.events.listeners.append(hear)
    return replace(store, patience=outage.patience)


def reach_store(job: Job, company: Company) -> RunStore | None:
    """The store as this process uses it, None without one and on processes that send nothing. Every process must call it.

    Where every machine sends, raises UserError on all processes when one of them cannot use it.
    """
    if not company.disk.apart:
        return job.rank.together((lambda: watched_store(job, company.run)) if job.rank.is_main else None)

    def reach() -> RunStore | None:
        store = watched_store(job, company.run)
        if store is not None:
            store.patiently(lambda: store.store.capabilities)
        return store

    return job.rank.together(reach if company.serves else None)


@contextmanager
def sending(job: Job, store: RunStore | None, company: Company) -> Iterator[Uploader | Follower | None]:
    """Who sends from this process while a block runs; None without a store. What is unsent when the block fails is given a little time."""
    if store is None:
        yield None
        return
    # What the store honours, and whether it lets us write, is found out before hours of training depend on it.
    store.patiently(lambda: store.store.capabilities)
    uploader = _head(job, store, company) if job.rank.is_main else _follower(job, store, company)
    finish = uploader.finish if isinstance(uploader, Follower) else uploader.flush

    def last() -> None:
        for others in job.others:
            others.hurry()
        finish(STOP_WAIT_S)

    job.lasts.append(last)
    try:
        yield uploader
    except BaseException as error:
        for vigil in job.vigils:
            vigil.rest()
            if isinstance(error, UserError):
                # The others need not wait for this one meanwhile, and have time for what they send as well.
                vigil.tell(error)
        if uploader.protected:
            job.progress.say(f"giving what is unsent up to {STOP_WAIT_S:.0f} s")
        last()
        raise
    finally:
        uploader.close()
        if job.rank.is_main:
            _send_notes(job, store)


def _head(job: Job, store: RunStore, company: Company) -> Uploader:
    attempt = company.attempt
    lease = Lease(store, attempt=attempt, ttl_s=_lease_s(store), look_s=_look_s(store))
    if company.board is None:
        return Uploader(store, attempt=attempt, word=lasting_word(job.folder.path, attempt=attempt), on_event=job.emit, lease=lease)
    others = Others(company.board, count=company.disk.count)
    job.others.append(others)
    return Uploader(store, attempt=attempt, word=company.word, on_event=_telling_wholes(job), lease=lease, others=others)


def _follower(job: Job, store: RunStore, company: Company) -> Follower:
    assert company.board is not None
    # The run's own event log is the head's; what went wrong here is looked for here, and said on the head's by what it waits for.
    events = EventLog(job.folder.portions / "events.jsonl")
    return Follower(store, company.board, index=company.disk.index, writer=company.writer, on_event=events.append)


def _telling_wholes(job: Job) -> OnEvent:
    """Tells the run's log of a checkpoint when all its portions are sealed as one, and notes its step for whoever counts the progress of this machine."""

    def tell(kind: str, step: int | None = None, **fields: Any) -> None:
        if kind == "uploaded" and step is not None and f"/{PORTIONS}/" in str(fields.get("path")):
            job.emit("checkpoint", step, path=fields["url"], sealed=True, bytes=fields["bytes"], seconds=fields["seconds"])
            with suppress(OSError):
                write_atomic(job.folder.path / STORED, str(step).encode())
        job.emit(kind, step, **fields)

    return tell


def _lease_s(store: RunStore) -> float:
    """How long the lease holds unrenewed: each renewal is a commit where changes are, and the Hub takes only so many an hour."""
    return 6 * TTL_S if store.store.capabilities.commits else TTL_S


def _look_s(store: RunStore) -> float:
    """How long the lease is not looked at again while files are sent: a look is two requests, five at the Hub, which counts them."""
    return 20.0 if store.store.capabilities.commits else 1.0


def await_sent(job: Job, uploader: Uploader | Follower | None, *, patience_s: float, while_moving: bool = False) -> bool:
    """Whether everything submitted is in the store, waiting for it as `wait_sent`."""
    if uploader is None:
        return True
    if uploader.protected:
        job.progress.say("waiting for the upload to end")
    if isinstance(uploader, Follower):
        # The head says when it is over, or is gone.
        return uploader.flush(TIMEOUT_MAX if while_moving else patience_s)
    for others in job.others:
        others.hurry()
    return wait_sent(uploader, patience_s=patience_s, say=job.progress.say, while_moving=while_moving)


def require_sent(job: Job, uploader: Uploader | Follower | None) -> None:
    """Nothing, once the final model is in the store. Raises UserError (exit 7) when the store does not take it."""
    if await_sent(job, uploader, patience_s=FINAL_WAIT_S, while_moving=True) or isinstance(uploader, Follower):
        # What a follower could not send, the head misses and says.
        return
    assert uploader is not None
    if uploader.final_is_sent and any(others.gone for others in job.others):
        job.progress.say("warning: the last checkpoint is not in the store, as a machine that held a part of it is gone; the model is")
        return
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
