"""Uploading while training goes on: a thread that seals checkpoints in a store and never disturbs the step."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential
from tenacity.wait import wait_base

from runtime.checkpoint.busy import AtLeastAsked
from runtime.checkpoint.jitter import Jitter
from runtime.checkpoint.layout import step_of
from runtime.checkpoint.lease import FencedError, Lease
from runtime.checkpoint.manifest import Manifest
from runtime.checkpoint.others import Others
from runtime.checkpoint.portion import Call, PortionError
from runtime.checkpoint.retention import Keep, prune_stored
from runtime.checkpoint.stored import RunStore, folder_name, newest_manifest
from runtime.checkpoint.storing import LostError, NotUploadableError, read_sealed, seal_in_store
from runtime.config.problem import Problem, UserError
from runtime.events import OnEvent


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    folder: Path
    keep: Keep | None
    step: int | None
    sent: dict[str, int] = field(default_factory=dict)
    call: Call | None = None
    paused_s: float = 0.0
    late: bool = False
    """Whether it has stepped back for newer ones, and is sent when nothing else is to be."""

    @property
    def is_final(self) -> bool:
        return self.step is None

    def stays(self, keep: Keep | None) -> bool:
        """Whether it is worth sending after one with `keep`: the final model, and the best checkpoint, which may become it on another machine."""
        return self.is_final or (keep is not None and self.step in keep.best)

    @property
    def can_be_late(self) -> bool:
        """Whether it is to be kept for good, however old it is."""
        if self.step is None or self.keep is None or not self.keep.every:
            return False
        return self.step % self.keep.every == 0


class Uploader:
    """Seals submitted folders in `place`, one after another.

    At most one checkpoint waits while one is sent: a newer one replaces it, and replaces one that keeps failing. The final model is never
    replaced, nor is the checkpoint that evaluated best; every K-th steps back and is sent when there is time. Files that the newest checkpoint in the store has too are not sent again. Failures are retried with growing pauses until they pass, the uploader is closed, or a newer checkpoint takes over.
    No method raises what a store does; `on_event` is told. When another process has taken the `lease`, or a higher attempt is found to have sealed the
    same step, this one is the run's past: it stops for good and `fenced` says why. The lease is held before every change of the store, renewed
    while nothing is to be sent, and given back at the end; None for one who sends a finished model and is no second life of the run.
    `word` is a part of the names of what this one sends that no other living process may have (`lasting_word`); a new one by default.
    With `others`, what is submitted may be one machine's portion of a checkpoint: it is sealed as a whole once all machines have sent theirs.
    `on_event` hears `uploaded {url, seconds, bytes, sent_bytes}`, `upload_retry {message, attempt, wait_s}`, `upload_dropped`, `upload_failed`,
    `prune_failed {message, lasts}` and then `pruned`, `lease_failed {message}` and `fenced {message}`, from the uploading thread or the submitting one.
    """

    def __init__(
        self,
        place: RunStore,
        *,
        attempt: int,
        on_event: OnEvent,
        lease: Lease | None = None,
        word: str | None = None,
        others: Others | None = None,
        wait: wait_base | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fenced: Problem | None = None
        self._place = place
        self._attempt = attempt
        self._lease = lease
        # The attempt alone is not enough: two machines may both believe to be attempt 1.
        self.writer = f"{attempt}-{word or secrets.token_hex(4)}"
        self._others = others
        self._guarded = clock()
        self._earlier: Manifest | None = None
        self._looked = False
        # Dead attempts may have left something in the store, and so does what is given up half sent.
        self._untidy = True
        self._prune_failed = False
        self._on_event = on_event
        self._wait = AtLeastAsked(wait_exponential(multiplier=0.5, max=60) + Jitter(1) if wait is None else wait)
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[_Job] = []
        self._active: _Job | None = None
        self._closing = False
        self._hurry = False
        self._latest_sealed: dict[bool, tuple[Path, bool]] = {}
        self._thread = threading.Thread(target=self._work, name="uploader", daemon=True)
        self._thread.start()

    @property
    def protected(self) -> frozenset[Path]:
        """Local folders that wait or are being sent; retention leaves them alone."""
        with self._changed:
            jobs = [*self._waiting, *([self._active] if self._active else [])]
            return frozenset(job.folder for job in jobs)

    @property
    def moved_bytes(self) -> int:
        """Bytes that have left for the store so far, as far as they are counted (`RunStore.sent`)."""
        return self._place.sent.moved_bytes

    @property
    def final_is_sent(self) -> bool:
        """Whether a final model was submitted, and the one submitted last is in the store."""
        with self._changed:
            return self._latest_sealed.get(True, (None, False))[1]

    def submit(self, folder: Path, *, keep: Keep | None = None) -> None:
        """Have the sealed `folder` sealed in the store too; afterwards delete there what `keep` does not keep. Returns at once."""
        job = _Job(folder=folder.absolute(), keep=keep, step=step_of(folder.name))
        with self._changed:
            if self.fenced or self._closing:
                reason = "another attempt has taken over this run" if self.fenced else "the uploader is closed"
                dropped, message = [job], reason
            else:
                dropped = [other for other in self._waiting if not (job.is_final or other.stays(keep))]
                message = f"a newer checkpoint ({folder.name}) is waiting to be uploaded"
                for other in dropped:
                    other.late = self._can_wait(other)
                dropped = [other for other in dropped if not other.late]
                self._waiting = [other for other in self._waiting if other not in dropped]
                self._waiting.append(job)
                self._latest_sealed[job.is_final] = (job.folder, False)
                self._changed.notify_all()
        for other in dropped:
            self._tell("upload_dropped", other, message=message)

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is left to send; True when the newest checkpoint and the final model, as far as submitted, are in the store."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            idle = self._changed.wait_for(lambda: not self._waiting and self._active is None, timeout_s)
            return idle and all(sealed for _, sealed in self._latest_sealed.values())

    def close(self, timeout_s: float = 5.0) -> bool:
        """Stop: what is not sent is given up and told. False when the thread was still inside a request after `timeout_s` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._others is not None:
            self._others.dismiss()
        return not self._thread.is_alive()

    def _work(self) -> None:
        self._renew()
        while (job := self._next()) is not None:
            try:
                self._upload(job)
            except Exception as error:  # noqa: BLE001  an upload may fail in ways nobody foresaw; training may not fail with it
                self._untidy = True
                self._tell("upload_failed", job, message=f"{type(error).__name__}: {error}")
            with self._changed:
                self._active = None
                self._changed.notify_all()
        if self._lease is not None:
            self._lease.release()

    def _next(self) -> _Job | None:
        while not self._await_job(None if self._lease is None or self.fenced else self._lease.renew_s):
            self._renew()
        with self._changed:
            if not self._closing:
                # The first that has not stepped back, else the first.
                self._active = min(self._waiting, key=lambda job: job.late)
                self._waiting.remove(self._active)
                return self._active
            abandoned, self._waiting = self._waiting, []
        for job in abandoned:
            self._tell("upload_failed", job, message="the run ended before it was sent")
        return None

    def _await_job(self, timeout_s: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._waiting) or self._closing, timeout_s)

    def _guard(self) -> None:
        if self._lease is not None:
            self._lease.hold()
            self._guarded = self._clock()

    def _guard_while_waiting(self) -> None:
        if self._lease is not None and self._clock() - self._guarded > self._lease.renew_s:
            self._guard()

    def _renew(self) -> None:
        """Keep the lease while nothing is sent. A store that fails now is asked again before the next upload."""
        try:
            self._guard()
        except FencedError as error:
            self._fence(None, error.problem)
        except Exception as error:  # noqa: BLE001  as in `_work`
            self._tell("lease_failed", None, message=f"{type(error).__name__}: {error}")

    def _upload(self, job: _Job) -> None:
        started = self._clock()
        retrying = Retrying(
            retry=retry_if_exception_type((OSError, UserError)),
            wait=self._wait,
            stop=lambda _state: self._is_superseded(job),
            sleep=lambda seconds: self._pause(job, seconds),
            before_sleep=lambda state: self._tell_retry(job, state),
            reraise=True,
        )
        try:
            manifest = retrying(self._seal, job)
        except FencedError as error:
            self._fence(job, error.problem)
        except LostError as error:
            self._lose(job, error)
        except (NotUploadableError, PortionError) as error:
            self._tell("upload_failed", job, message=str(error))
        except (OSError, UserError) as error:
            if not self._step_back(job):
                self._tell("upload_failed" if self._closing else "upload_dropped", job, message=str(error))
        else:
            # How fast the store is, and how often it is worth saving, is learnt from this: a store that was away for hours is not slow.
            self._succeed(job, manifest, self._clock() - started - job.paused_s)
            return
        self._untidy = True

    def _can_wait(self, job: _Job) -> bool:
        # Of several machines' portions, nobody keeps the others that long.
        return self._others is None and job.can_be_late

    def _step_back(self, job: _Job) -> bool:
        with self._changed:
            job.late = self._can_wait(job) and not self._closing
            if job.late:
                self._waiting.append(job)
            return job.late

    def _seal(self, job: _Job) -> Manifest:
        self._guard()
        local = read_sealed(job.folder)
        # No name ever stands for two contents: a request of a process that has died may still arrive.
        writer = f"{self.writer}-{local.content_mark}"
        # Before the own portion is sent, so that all machines send at once.
        if local.kind == "portion" and self._others is not None and job.call is None:
            job.call = self._others.call(local.step)
        if self._earlier is None and not self._looked:
            self._earlier = newest_manifest(self._place)
            self._looked = True
        return seal_in_store(
            self._place,
            job.folder,
            writer=writer,
            sent=job.sent,
            earlier=self._earlier,
            cancelled=lambda: self._closing,
            guard=self._guard,
            whole=None if job.call is None else lambda own: self._complete(job, own),
        )

    def _complete(self, job: _Job, own: Manifest) -> Manifest:
        assert self._others is not None
        assert job.call is not None
        return self._others.whole(
            own,
            job.call,
            writer=self.writer,
            cancelled=lambda: self._closing,
            guard=self._guard_while_waiting,
            pause=self._wait_closing,
        )

    def _wait_closing(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)

    def _succeed(self, job: _Job, manifest: Manifest, seconds: float) -> None:
        if not job.late:
            self._earlier = manifest
        with self._changed:
            if self._latest_sealed.get(job.is_final) == (job.folder, False):
                self._latest_sealed[job.is_final] = (job.folder, True)
        self._tell(
            "uploaded",
            job,
            url=self._place.url(folder_name(manifest)),
            seconds=round(seconds, 3),
            bytes=manifest.total_bytes,
            sent_bytes=sum(job.sent.values()),
        )
        # Where nothing is to be deleted but leftovers, and there are none, thousands of objects need not be listed after each save.
        # One that comes late knows nothing of what is to be kept by now.
        if job.keep is not None and not job.late and (self._untidy or job.keep.last is not None):
            try:
                prune_stored(self._place, job.keep, attempt=self._attempt, writer=self.writer, sealed=job.step, guard=self._guard)
                self._place.store.drop_unfinished(self._place.key(""), self._is_left_over)
                self._untidy = False
                self._tell_pruned(job)
            except FencedError as error:
                self._fence(job, error.problem)
            except (OSError, UserError) as error:
                self._prune_failed = True
                self._tell("prune_failed", job, message=str(error), lasts=isinstance(error, UserError))

    def _tell_pruned(self, job: _Job) -> None:
        """Deleting works as a rule; only that it works again is worth a word."""
        if self._prune_failed:
            self._prune_failed = False
            self._tell("pruned", job)

    def _is_left_over(self, key: str) -> bool:
        """Whether an upload of `key` that never ended is of a dead attempt, or one that this process has given up."""
        writers = [part for part in key.split("/") if part.partition("-")[0].isdecimal()]
        return any(int(part.partition("-")[0]) < self._attempt or part.startswith(f"{self.writer}-") for part in writers)

    def _lose(self, job: _Job, lost: LostError) -> None:
        if lost.winner.attempt <= self._attempt:
            self._tell("upload_failed", job, message=f"{lost}, with other content; that one stays")
            return
        problem = Problem(
            code="fenced",
            message=f"{lost}: this is attempt {self._attempt}, whose place has been taken",
            place=lost.address,
            fix="stop this process; the newer attempt goes on",
        )
        self._fence(job, problem)

    def _fence(self, job: _Job | None, problem: Problem) -> None:
        with self._changed:
            self.fenced = problem
            abandoned, self._waiting = self._waiting, []
        self._tell("fenced", job, message=problem.message)
        for other in abandoned:
            self._tell("upload_dropped", other, message="another attempt has taken over this run")

    def _is_superseded(self, job: _Job) -> bool:
        with self._changed:
            others = [other for other in self._waiting if not other.late]
            return self._closing or any(job.late or not (other.is_final or job.stays(other.keep)) for other in others)

    def _pause(self, job: _Job, seconds: float) -> None:
        began = self._clock()
        with self._changed:
            self._changed.wait_for(lambda: self._hurry or self._is_superseded(job), seconds)
            self._hurry = False
        job.paused_s += self._clock() - began

    def _tell_retry(self, job: _Job, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        wait_s = round(state.next_action.sleep, 1) if state.next_action else 0.0
        self._tell("upload_retry", job, message=str(error), attempt=state.attempt_number, wait_s=wait_s)

    def _tell(self, kind: str, job: _Job | None, **fields: object) -> None:
        # A listener that fails (a full disk under the event log) may not end the uploads, nor the step that submitted one.
        with suppress(Exception):
            if job is not None:
                fields["path"] = str(job.folder)
            self._on_event(kind, step=None if job is None else job.step, **fields)
