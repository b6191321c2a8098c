"""What a training pushes to the Hub, and when: asked for before it begins, copies of checkpoints on the way, the model at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from runtime.config.problem import UserError
from runtime.events import Event
from runtime.publish.hub.asking import NOTABLE
from runtime.publish.hub.contents import strategy_of
from runtime.publish.hub.repository import Repository, dataset_repository, model_repository
from runtime.training.job import Job

if TYPE_CHECKING:
    from runtime.data.prepare import Prepared
    from runtime.publish.hub.copying import HubCopies


# How long a start asks a Hub that does not answer.
ASK_S = 30.0


def open_repository(job: Job) -> Repository | None:
    """The repository of `hub_model_id`, found to take what we write; None on processes that do not write, and without the option. `push_dataset_to_hub` is looked at too.

    Raises UserError (exit 8), before anything is trained, when it does not. A Hub that does not answer stops no run that has begun already: it goes on, and the push at its end
    is tried for long.
    """
    if not job.rank.is_main:
        return None
    from runtime.publish.hub.access import ready_to_write

    opened: Repository | None = None
    for repository in (dataset_repository(job.config), model_repository(job.config)):
        if repository is None:
            continue
        try:
            ready = ready_to_write(repository, patience_s=ASK_S)
        except UserError as error:
            if any(problem.code != "unreachable" for problem in error.problems) or not _has_begun(job):
                raise
            job.progress.say(f"warning: {error.problems[0].message}; training goes on, and the Hub is tried again")
            ready = repository
        # A name without its owner can be completed by the Hub alone.
        opened = ready if ready.kind == "model" and "/" in ready.id else opened
    return opened


@contextmanager
def copying(job: Job, repository: Repository | None) -> Iterator[HubCopies | None]:
    """Who pushes copies of this run's checkpoints while a block runs; None when nothing is to be pushed before the end."""
    strategy = strategy_of(job.config.hub_strategy)
    if repository is None or strategy == "end":
        yield None
        return
    from runtime.publish.hub.copying import HubCopies

    if job.events is not None:
        job.events.listeners.append(partial(say_failures, job.progress.say))
    copies = HubCopies(repository, strategy=strategy, on_event=job.emit)
    try:
        yield copies
    finally:
        copies.close()


def say_failures(say: Callable[[str], None], event: Event) -> None:
    """Say what an event tells of pushes that fail for longer than a hiccup lasts, or have failed."""
    if event["kind"] == "push_retry" and event.get("attempt") == NOTABLE:
        say(f"warning: the Hub does not take what is pushed: {event.get('message')}; it is asked again, and training goes on")
    elif event["kind"] == "push_failed":
        say(f"warning: step {event.get('step')} was not pushed to the Hub: {event.get('message')}")


def await_copies(job: Job, copies: HubCopies | None, *, patience_s: float) -> None:
    """Give the copies under way at most `patience_s` seconds to end; they are copies, so that nothing is lost when they do not."""
    if copies is None or not copies.protected:
        return
    job.progress.say("waiting for the push of a checkpoint to the Hub")
    if not copies.flush(patience_s):
        job.progress.say("warning: the Hub has not taken the newest checkpoint; it is sealed here")


def push_final(job: Job) -> None:
    """Push the sealed model, where no supervisor follows that publishes it. Raises UserError (exit 7) when the Hub does not take it."""
    if not job.rank.is_main or job.surroundings.run is not None or job.events is None or not job.config.hub_model_id:
        return
    from runtime.publish.hub.publishing import push_model

    job.progress.say(f"pushing the model to {job.config.hub_model_id}")
    pushed = push_model(job.config, job.folder.final, events=job.events)
    if pushed is not None:
        job.progress.say(f"pushed and compared: {pushed.url}, commit {pushed.commit[:12]}")


def push_data(job: Job, prepared: Prepared) -> None:
    """Push data that were prepared just now to `push_dataset_to_hub`. The Hub's failure is a warning: `preprocess` pushes them at any time."""
    if not job.rank.is_main or not job.config.push_dataset_to_hub or prepared.report.cached:
        return
    from runtime.publish.hub.dataset import push_prepared

    try:
        pushed = push_prepared(job.config, prepared)
    except UserError as error:
        job.progress.say(f"warning: the prepared data are not on the Hub: {error.problems[0].message}; `preprocess` pushes them")
    else:
        job.progress.say(f"the prepared data are at {pushed.url}, commit {pushed.commit[:12]}")


def _has_begun(job: Job) -> bool:
    return job.surroundings.attempt > 1 or (job.folder.checkpoints.is_dir() and any(job.folder.checkpoints.iterdir()))
