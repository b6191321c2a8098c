"""Rented machines as a backend: submits through SkyPilot, then reads the run's storage, as any other computer can."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from launcher.backend.bounds import UNCHANGED, Bounds
from launcher.backend.job import Job
from launcher.backend.local.child_environment import check_secrets
from launcher.backend.protocol import ACTIVE, Backend, RunStatus
from launcher.backend.sky.adoption import adopt, catch_up
from launcher.backend.sky.cloud import Cloud
from launcher.backend.sky.costs import billed, spent
from launcher.backend.sky.handover import Handover
from launcher.backend.sky.key_file import drop_key
from launcher.backend.sky.lookout import Lookout
from launcher.backend.sky.opening import Opening, keep_config, refuse_taken, take_back
from launcher.backend.sky.renewal import refuse_spent, renewed
from launcher.backend.sky.required_storage import check_storage
from launcher.backend.sky.states import speaks
from launcher.backend.sky.storages import Storages
from launcher.backend.sky.submission import FILE, Submission, read_submission, write_submission
from launcher.plan.azure_login import check_login
from launcher.plan.storage_keys import with_storage_keys
from launcher.state.outputs import CheckpointFolder
from launcher.state.progress import fold
from launcher.state.runs import RunFolder, create_run, find_run, list_runs
from launcher.state.stored_run import EVENTS, LOG, StoredEvents, StoredRun, StoredText
from launcher.state.usage import lost_time
from runtime.checkpoint.layout import CHECKPOINTS, step_folder
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.store import Store
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.secrets import wanted_secrets
from runtime.record import RunRecord

# A machine has told its last words this soon after its run's end; one that has not is given back all the same.
_LAST_WORDS_S = 30.0


@dataclass(slots=True, kw_only=True)
class SkyBackend:
    """The backend of every cloud but `local`. `cloud` is SkyPilot, `report` takes a line of progress, `clock` is Unix seconds; for `look_s` and
    `ask_s` see Lookout."""

    state_root: Path
    environment: Mapping[str, str]
    report: Callable[[str], None]
    cloud: Cloud
    name: str = "sky"
    templates: tuple[Path, ...] = ()
    stores: Callable[[str], Store] = open_store
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    look_s: float = 2.0
    ask_s: float = 10.0
    _storages: Storages = field(init=False)
    _lookout: Lookout = field(init=False)

    def __post_init__(self) -> None:
        self._storages = Storages(stores=self.stores)
        self._lookout = Lookout(storages=self._storages, cloud=self.cloud, clock=self.clock, look_s=self.look_s, ask_s=self.ask_s)

    def submit(self, job: Job) -> RunRecord:
        """Put the run's inputs into its storage and have SkyPilot start it. Raises UserError, leaving nothing behind."""
        self.cloud.require()
        storage = job.config.launch.storage
        check_storage(storage)
        check_secrets(wanted_secrets(job.config), self.environment)
        check_login(job.config.launch, self.environment, job.offers)
        assert storage is not None
        stored = self._storages.at(storage, job.run)
        refuse_taken(stored, job.run, storage)
        # The keys of the storage may lie in a profile here, which the machine will not have.
        environment = with_storage_keys(storage, self.environment)
        folder = create_run(self.state_root, job.run)
        opening = Opening(backend=self.name, environment=environment, templates=self.templates, report=self.report)
        try:
            record, submission = opening.prepare(job, folder, stored, self.clock())
            self._handover(environment).give(folder, stored, record, submission)
        except BaseException as error:
            # An interrupt while SkyPilot works does not call it back: what was submitted must stay known.
            if not isinstance(error, KeyboardInterrupt) or not (folder.path / FILE).exists():
                shutil.rmtree(folder.path, ignore_errors=True)
                take_back(stored)
            raise
        return record

    def look(self, run: str) -> RunRecord:
        """The run's record as it is now, at most two seconds old."""
        return self._lookout.look(find_run(self.state_root, run))

    def status(self, run: str) -> RunStatus:
        """The run with its progress, its sealed checkpoints, and what it has cost."""
        folder = find_run(self.state_root, run)
        record = self.look(run)
        stored = self._storages.of(record)
        events = self.events(folder.run).new()
        usage = stored.place.patiently(stored.usage)
        return RunStatus(record=record, progress=fold(events), checkpoints=_checkpoints(stored), spent=spent(usage, lost_time(events)))

    def runs(self) -> list[RunRecord]:
        """The records of all rented runs this computer knows, the newest first; one whose storage cannot be reached is shown as it was last seen."""
        return [record for record, _ in self.sightings()]

    def sightings(self) -> list[tuple[RunRecord, bool]]:
        """Those records, each with whether it is what is so now, rather than what was last seen."""
        found = []
        for folder in list_runs(self.state_root):
            with suppress(UserError):
                record, now = folder.record(), False
                if record.backend != self.name:
                    continue
                with suppress(OSError, UserError):
                    record, now = self.look(folder.run), True
                found.append((record, now))
        return found

    def events(self, run: str) -> StoredEvents:
        """The run's events from its first on."""
        return StoredEvents(text=self._text(run, EVENTS))

    def log(self, run: str) -> StoredText:
        """What its machines printed, from the first on."""
        return self._text(run, LOG)

    def stop(self, run: str) -> None:
        """Leave the wish to stop in the storage, where the machine finds it within seconds. Where there is no machine, the job is cancelled."""
        folder = find_run(self.state_root, run)
        record = folder.record()
        stored = self._storages.of(record)
        submission = catch_up(folder, stored)
        now = self.clock()
        stored.place.patiently(lambda: stored.ask_stop(submission=submission.id, now=now))
        there = stored.place.patiently(stored.record) or record
        if not speaks(there, stored.place.patiently(stored.usage), submission=submission.id, now=now):
            self._end(submission)
            self._settle(folder, stored, there, "stopped before its machine was at work")
        self._lookout.forget(folder.run)

    def resume(self, run: str, bounds: Bounds = UNCHANGED, *, after: str | None = None) -> RunRecord:  # noqa: ARG002 - machines enough for all
        """Submit the run again; it goes on from its newest sealed checkpoint. Raises UserError when it is at work or done, or has used up what it may."""
        folder = find_run(self.state_root, run)
        record = self._lookout.now(folder)
        if record.state in ACTIVE:
            raise UserError(
                Problem(code="run-active", message=f"run '{run}' is at work ({record.state})", fix=f"`launcher logs {run} -f` follows it")
            )
        if record.state == "done":
            raise UserError(Problem(code="run-done", message=f"run '{run}' is done", fix=f"`launcher pull {run}` copies its model"))
        self.cloud.require()
        stored = self._storages.of(record)
        submission = catch_up(folder, stored)
        environment = with_storage_keys(record.storage, self.environment)
        fresh = renewed(submission, bounds=bounds, storage=record.storage, environment=environment, now=self.clock())
        refuse_spent(folder, stored.place.patiently(stored.usage), bounds)
        self._lookout.forget(folder.run)
        text = folder.config_path.read_text(encoding="utf-8")
        record = record.model_copy(update={"state": "starting", "exit_code": None, "message": ""})
        before = folder.record()
        try:
            keep_config(folder, stored, bounds.over_config(text))
            self._handover(environment).give(folder, stored, record, fresh)
        except UserError:
            folder.save(before)
            keep_config(folder, stored, text)
            write_submission(folder.path, submission)
            stored.place.patiently(lambda: stored.write_record(before))
            stored.place.patiently(lambda: stored.write_json(FILE, submission.for_others()))
            raise
        return record

    def release(self, run: str) -> None:
        """Give the machine of a run that has ended back now, instead of when SkyPilot finds it idle. A managed job does that by itself."""
        folder = find_run(self.state_root, run)
        submission = read_submission(folder.path)
        if self.look(run).state in ACTIVE or submission.kind != "cluster":
            return
        self.report("giving its machine back")
        stored = self._storages.of(folder.record())
        until = self.clock() + _LAST_WORDS_S
        while self.clock() < until and (life := stored.place.patiently(stored.usage).last) is not None and not life.ended:
            self.sleep(1.0)
        with suppress(UserError):
            # Without SkyPilot here, or while it refuses, the machine still ends by itself.
            self._end(submission)

    def down(self, run: str, *, delete: bool) -> list[Problem]:
        """End the job and give its machines back; with `delete`, forget the run here. What is in the storage stays."""
        folder = find_run(self.state_root, run)
        try:
            read_submission(folder.path)
            record = folder.record()
        except UserError:
            shutil.rmtree(folder.path)
            return []
        stored = self._storages.of(record)
        submission = catch_up(folder, stored)
        self._end(submission)
        there = stored.place.patiently(stored.record) or record
        if there.state in ACTIVE:
            self._settle(folder, stored, there, "taken down")
        self._lookout.forget(folder.run)
        if not delete:
            return []
        shutil.rmtree(folder.path)
        return [
            Problem(
                code="kept", message="what is in the storage was kept", place=stored.place.url(), fix="remove it there if it is of no use"
            )
        ]

    def bill(self, run: str) -> list[str]:
        """What of the run costs money now, a sentence each."""
        folder = find_run(self.state_root, run)
        return [billed(read_submission(folder.path), folder.run)] if self.look(run).state in ACTIVE else []

    def adopt(self, storage: str, run: str) -> RunFolder:
        """Make a run of `storage` known to this computer. Raises UserError when the storage has no such run."""
        return adopt(self.state_root, self._storages.at(storage, run), storage=storage, run=run)

    def _handover(self, environment: Mapping[str, str]) -> Handover:
        return Handover(cloud=self.cloud, environment=environment, report=self.report)

    def _text(self, run: str, name: str) -> StoredText:
        return StoredText(place=self._storages.of(find_run(self.state_root, run).record()).place, name=name)

    def _end(self, submission: Submission) -> None:
        if submission.kind == "cluster":
            self.cloud.end_cluster(submission.name)
        elif (number := self._lookout.number(submission)) is not None:
            self.cloud.cancel_job(number)

    def _settle(self, folder: RunFolder, stored: StoredRun, record: RunRecord, message: str) -> None:
        mine = folder.record()
        ended = record.model_copy(update={"state": "stopped", "exit_code": int(ExitCode.INTERRUPTED), "message": message})
        stored.place.patiently(lambda: stored.write_record(ended))
        folder.save(ended.model_copy(update={"output_dir": mine.output_dir, "storage": mine.storage, "cwd": mine.cwd}))
        drop_key(folder)


def as_backend(backend: SkyBackend) -> Backend:
    """The same object under the type the command line knows; the type checker proves here that it keeps the Protocol."""
    return backend


def _checkpoints(stored: StoredRun) -> tuple[CheckpointFolder, ...]:
    steps = stored.place.patiently(stored.place.steps)
    return tuple(
        CheckpointFolder(step=step, path=stored.place.url(f"{CHECKPOINTS}/{step_folder(step)}"), sealed=sealed)
        for step, sealed in sorted(steps.items())
    )
