"""Listening for the end of this machine while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from runtime.training.preemption.choice import find_source, wished
from runtime.training.preemption.source import Sign, Source
from runtime.training.stop import Notice

if TYPE_CHECKING:
    from runtime.training.job import Job
    from runtime.training.preemption.metadata import MetadataService

# A service that fails is asked less often, but the shortest notice is 30 seconds long.
_LONGEST_PAUSE_S = 5.0
# So many failures in a row are said aloud, once.
_NOTABLE_FAILURES = 5


def watch(source: Source, *, on_sign: Callable[[Sign], None], say: Callable[[str], None], wait: Callable[[float], bool]) -> None:
    """Tell `on_sign` what `source` says until it says that the machine goes away, or until `wait` is True; `wait` gets the seconds to pause.

    A service that does not answer properly is asked again for as long as the run lasts; `say` is told when that goes on, and when it is over.
    """
    failures = 0
    while True:
        pause = source.pause_s
        try:
            sign = source.next_sign()
        except Exception as error:  # noqa: BLE001  an answer may be wrong in ways nobody foresaw; whoever listens to it may not end with it
            failures += 1
            if failures == _NOTABLE_FAILURES:
                say(f"the metadata service of {source.name} does not answer ({error}): a notice may be missed; still asking")
            pause = min(max(pause, 0.5) * 2 ** min(failures, 8), _LONGEST_PAUSE_S)
        else:
            if failures >= _NOTABLE_FAILURES:
                say(f"the metadata service of {source.name} answers again")
            failures = 0
            if sign is not None:
                on_sign(sign)
                if sign.kind == "preempt":
                    return
        if wait(pause):
            return


@contextmanager
def watching(job: Job) -> Iterator[None]:
    """Listen while a block runs, in one process of each machine; a notice becomes a request to stop, a hint one to save.

    Nothing waits for it: finding out which cloud this is, and asking it, is done by a thread that dies with the process. Raises UserError for variables
    that name no cloud or no address.
    """
    name, service = wished(job.surroundings.notices)
    if name == "none" or job.rank.local != 0:
        yield
        return
    ended = threading.Event()
    threading.Thread(target=_listen, args=(job, name, service, ended), name="preemption", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _listen(job: Job, name: str, service: MetadataService, ended: threading.Event) -> None:
    def say(message: str) -> None:
        _emit(job, "preemption_watch", message=message)
        job.progress.say(f"warning: {message}")

    def on_sign(sign: Sign) -> None:
        if ended.is_set():
            return
        if sign.kind == "hint":
            job.stop.save_soon = True
            _emit(job, "preemption_hint", reason=sign.reason)
        else:
            job.stop.warn(Notice(kind="preempt", deadline_at=sign.deadline_at, reason=sign.reason))

    source = find_source(name, service, say=say)
    if source is not None:
        _emit(job, "preemption_watch", source=source.name)
        watch(source, on_sign=on_sign, say=say, wait=ended.wait)


def _emit(job: Job, kind: str, **fields: object) -> None:
    # A full disk under the event log may not end the watch.
    with suppress(OSError):
        job.emit(kind, **fields)
