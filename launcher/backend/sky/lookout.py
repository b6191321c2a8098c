"""Watching rented runs: the storage is asked how a run is, SkyPilot where the storage is silent, and neither more often than it bears."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from launcher.backend.protocol import ACTIVE
from launcher.backend.sky.adoption import catch_up
from launcher.backend.sky.cloud import Cloud, Seen
from launcher.backend.sky.key_file import drop_key
from launcher.backend.sky.states import is_over, judged, speaks, still_hoped_for
from launcher.backend.sky.storages import Storages
from launcher.backend.sky.submission import Submission, read_submission
from launcher.state.runs import RunFolder
from launcher.state.stored_run import LOG, PATIENCE_S, GrowingText, StoredRun
from launcher.state.usage import keep_usage
from runtime.config.problem import UserError
from runtime.record import RunRecord


@dataclass(slots=True, kw_only=True)
class Lookout:
    """The storage answers in tens of milliseconds, SkyPilot in seconds, and whoever watches asks several times a second: the storage is asked every
    `look_s`, SkyPilot every `ask_s` seconds. `clock` is Unix seconds."""

    storages: Storages
    cloud: Cloud
    clock: Callable[[], float]
    look_s: float
    ask_s: float
    _looked: dict[str, tuple[float, RunRecord]] = field(default_factory=dict)
    _asked: dict[str, tuple[float, Seen]] = field(default_factory=dict)

    def look(self, folder: RunFolder) -> RunRecord:
        """The run's record, at most `look_s` old; older while the storage does not answer, for as long as a watcher bears that."""
        now = self.clock()
        before = self._looked.get(folder.run)
        if before is not None and now - before[0] < self.look_s:
            return before[1]
        try:
            record = self.now(folder)
        except (OSError, UserError):
            if before is None or now - before[0] > PATIENCE_S:
                raise
            return before[1]
        self._looked[folder.run] = (now, record)
        return record

    def now(self, folder: RunFolder) -> RunRecord:
        """The run's record as it is now. What is found is written down here, and an end that nobody told in the storage too."""
        mine = folder.record()
        if mine.state == "done":
            drop_key(folder)
            return mine
        found = self._found(folder, mine)
        # Where the run's files are on its machine says nothing here.
        record = found.model_copy(update={"output_dir": mine.output_dir, "storage": mine.storage, "cwd": mine.cwd})
        if record != mine:
            folder.save(record)
        if record.state not in ACTIVE and record.state != "lost":
            drop_key(folder)
        return record

    def forget(self, run: str) -> None:
        """Ask anew next time."""
        self._looked.pop(run, None)

    def number(self, submission: Submission) -> int | None:
        """The number of a managed job with the SkyPilot of this computer; None when it knows none. Another computer's number means another job here,
        and a submission that was interrupted has none."""
        return submission.number if submission.here and submission.number is not None else self.cloud.find_job(submission.name)

    def _found(self, folder: RunFolder, mine: RunRecord) -> RunRecord:
        stored, now = self.storages.of(mine), self.clock()
        there = stored.place.patiently(stored.record) or mine
        usage = stored.place.patiently(stored.usage)
        keep_usage(folder.path, usage)
        if speaks(there, usage, submission=read_submission(folder.path).id, now=now):
            return there
        submission = catch_up(folder, stored)
        if speaks(there, usage, submission=submission.id, now=now):
            return there
        seen = self._ask(submission, now)
        if seen.phase == "gone" and not submission.here and (quiet := still_hoped_for(there, usage, submission, now=now)) is not None:
            return quiet
        if is_over(seen) and (last := stored.place.patiently(stored.record)) is not None and last.state not in ACTIVE:
            # Its last word came between the two questions.
            return last
        found = judged(there, usage, seen, submission=submission.id)
        if is_over(seen) and found.state in ("failed", "stopped"):
            self._keep_words(stored, submission)
            stored.place.patiently(lambda: stored.write_record(found))
        return found

    def _keep_words(self, stored: StoredRun, submission: Submission) -> None:
        """Why a machine ended that could not tell it, in the run's log: SkyPilot's own copy goes with the machine."""
        with suppress(OSError, UserError):
            managed = submission.kind == "job"
            if text := self.cloud.printed(submission.name, self.number(submission) if managed else submission.number, managed=managed):
                GrowingText(stored.place, LOG).append(text.encode())

    def _ask(self, submission: Submission, now: float) -> Seen:
        before = self._asked.get(submission.id)
        if before is not None and now - before[0] < self.ask_s:
            return before[1]
        try:
            seen = self._answer(submission)
        except UserError:
            if submission.here:
                raise
            # A computer that only reads the storage needs no SkyPilot.
            seen = Seen(phase="gone")
        self._asked[submission.id] = (now, seen)
        return seen

    def _answer(self, submission: Submission) -> Seen:
        if submission.kind == "cluster":
            return self.cloud.cluster_job(submission.name, submission.number if submission.here else None)
        if (number := self.number(submission)) is not None:
            return self.cloud.job(number)
        return Seen(phase="waiting" if submission.here else "gone")
