"""Rented machines as a backend: submits through SkyPilot, then reads the run's storage, as any other computer can."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from launcher.backend.job import Job
from launcher.backend.local.child_environment import check_secrets
from launcher.backend.protocol import ACTIVE, Backend, RunStatus, Spent
from launcher.backend.sky.cloud import Cloud, Seen
from launcher.backend.sky.states import is_over, judged, speaks
from launcher.backend.sky.submission import FILE, Submission, read_submission, write_submission
from launcher.state.outputs import CheckpointFolder
from launcher.state.progress import fold
from launcher.state.runs import RunFolder, create_run, find_run, list_runs
from launcher.state.stored_inputs import send_inputs
from launcher.state.stored_run import CONFIG, EVENTS, LOG, PATIENCE_S, StoredEvents, StoredRun, StoredText
from launcher.state.usage import Lost, Usage, lost_time
from launcher.task.making import make_task
from launcher.task.surroundings import GOOGLE_FILE, GOOGLE_KEY
from launcher.task.task import HOME, render_task
from launcher.task.wheel import write_wheel
from runtime.checkpoint.layout import CHECKPOINTS, step_folder
from runtime.checkpoint.store import Store, open_store
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.secrets import wanted_secrets
from runtime.config.storage import parse_address
from runtime.record import RunRecord, write_atomic


@dataclass(slots=True, kw_only=True)
class SkyBackend:
    """The backend of every cloud but `local`. `cloud` is SkyPilot, `report` takes a line of progress, `clock` is Unix seconds."""

    state_root: Path
    environment: Mapping[str, str]
    report: Callable[[str], None]
    cloud: Cloud
    name: str = "sky"
    templates: tuple[Path, ...] = ()
    stores: Callable[[str], Store] = open_store
    clock: Callable[[], float] = time.time
    look_s: float = 2.0
    ask_s: float = 10.0
    """The storage answers in tens of milliseconds, SkyPilot in seconds, and whoever watches asks several times a second: neither is asked more often."""
    _looked: dict[str, tuple[float, RunRecord]] = field(default_factory=dict)
    _asked: dict[str, tuple[float, Seen]] = field(default_factory=dict)
    _opened: dict[str, Store] = field(default_factory=dict)

    def submit(self, job: Job) -> RunRecord:
        """Put the run's inputs into its storage and have SkyPilot start it. Raises UserError, leaving nothing behind."""
        from runtime.config.load import config_hash

        launch = job.config.launch
        self.cloud.require()
        check_storage(launch.storage)
        check_secrets(wanted_secrets(job.config), self.environment)
        assert launch.storage is not None
        stored = self._stored(launch.storage, job.run)
        stored.place.patiently(lambda: stored.place.store.capabilities)
        if stored.place.patiently(stored.record) is not None:
            raise UserError(
                Problem(
                    code="run-exists",
                    message=f"the storage has a run called '{job.run}'",
                    place=stored.place.url(),
                    fix=f"choose another --name, or go on with that one: `launcher resume {job.run} --storage {launch.storage}`",
                )
            )
        folder = create_run(self.state_root, job.run)
        try:
            made = make_task(
                job.config,
                run=job.run,
                recipe=job.recipe,
                cwd=job.cwd,
                environment=self.environment,
                offers=job.offers,
                disk_gb=job.disk_gb,
                chaos=job.chaos,
                expected_gib=job.expected_gib,
                wheel=None if launch.image else write_wheel(folder.path / "wheel"),
                mounts_inputs=False,
            )
            submission = Submission(
                id=_new_id(self.clock()),
                kind="job"
                if _wants_recovery(launch.recovery.machines, spot=any(choice.spot for choice in made.task.choices))
                else "cluster",
                name=job.run,
                submitted=self.clock(),
                usd_per_h=made.usd_per_h,
                task=render_task(made.task, folders=self.templates),
                secrets=list(made.task.secrets),
            )
            record = RunRecord(
                run=job.run,
                recipe=job.recipe,
                backend=self.name,
                output_dir=job.config.output_dir,
                storage=launch.storage,
                created=self.clock(),
                processes=launch.processes or 1,
                cwd=str(job.cwd),
                chaos=list(job.chaos),
                config_hash=config_hash(made.config),
            )
            write_atomic(folder.config_path, made.task.config_text.encode())
            folder.save(record)
            if made.inputs:
                self.report(f"sending the run's inputs to {stored.place.url()}")
            send_inputs(stored, [file for item in made.inputs for file in item.files()])
            text = made.task.config_text
            stored.place.patiently(lambda: stored.place.store.put_bytes(stored.place.key(CONFIG), text.encode()))
            self._launch(folder, stored, record, submission)
        except BaseException as error:
            # An interrupt while SkyPilot works does not call it back: what was submitted must stay known.
            if not isinstance(error, KeyboardInterrupt) or not (folder.path / FILE).exists():
                shutil.rmtree(folder.path, ignore_errors=True)
                _forget(stored)
            raise
        return record

    def look(self, run: str) -> RunRecord:
        """The run's record as it is now, at most two seconds old."""
        folder = find_run(self.state_root, run)
        now = self.clock()
        before = self._looked.get(folder.run)
        if before is not None and now - before[0] < self.look_s:
            return before[1]
        try:
            record = self._look(folder, now)
        except (OSError, UserError):
            if before is None or now - before[0] > PATIENCE_S:
                raise
            return before[1]
        self._looked[folder.run] = (now, record)
        return record

    def status(self, run: str) -> RunStatus:
        """The run with its progress, its sealed checkpoints, and what it has cost."""
        folder = find_run(self.state_root, run)
        record = self.look(run)
        stored = self._of(record)
        events = self.events(folder.run).new()
        usage = stored.place.patiently(stored.usage)
        return RunStatus(record=record, progress=fold(events), checkpoints=_checkpoints(stored), spent=_spent(usage, lost_time(events)))

    def runs(self) -> list[RunRecord]:
        """The records of all rented runs this computer knows, the newest first; one whose storage cannot be reached is shown as it was last seen."""
        records = []
        for folder in list_runs(self.state_root):
            try:
                record = folder.record()
                if record.backend == self.name:
                    records.append(self._as_seen(folder, record))
            except UserError:
                continue
        return records

    def events(self, run: str) -> StoredEvents:
        """The run's events from its first on."""
        return StoredEvents(text=StoredText(place=self._of(find_run(self.state_root, run).record()).place, name=EVENTS))

    def log(self, run: str) -> StoredText:
        """What its machines printed, from the first on."""
        return StoredText(place=self._of(find_run(self.state_root, run).record()).place, name=LOG)

    def stop(self, run: str) -> None:
        """Leave the wish to stop in the storage, where the machine finds it within seconds. Where there is no machine, the job is cancelled."""
        folder = find_run(self.state_root, run)
        record, submission = folder.record(), read_submission(folder.path)
        stored = self._of(record)
        now = self.clock()
        stored.place.patiently(lambda: stored.ask_stop(submission=submission.id, now=now))
        there = stored.place.patiently(stored.record) or record
        if not speaks(there, stored.place.patiently(stored.usage), submission=submission.id, now=now):
            self._end(submission)
            self._settle(folder, stored, there, "stopped before its machine was at work")
        self._looked.pop(folder.run, None)

    def resume(self, run: str) -> RunRecord:
        """Submit the run again; it goes on from its newest sealed checkpoint. Raises UserError when it is at work or done."""
        folder = find_run(self.state_root, run)
        record = self._look(folder, self.clock())
        if record.state in ACTIVE:
            raise UserError(
                Problem(code="run-active", message=f"run '{run}' is at work ({record.state})", fix=f"`launcher logs {run} -f` follows it")
            )
        if record.state == "done":
            raise UserError(Problem(code="run-done", message=f"run '{run}' is done", fix=f"`launcher pull {run}` copies its model"))
        self.cloud.require()
        submission = read_submission(folder.path)
        check_secrets([name for name in submission.secrets if name != GOOGLE_KEY], self.environment)
        stored = self._of(record)
        self._looked.pop(folder.run, None)
        fresh = submission.model_copy(
            update={
                "id": _new_id(self.clock()),
                "number": None,
                "submitted": self.clock(),
                "task": _with_wheel(submission.task, folder.path),
            }
        )
        record = record.model_copy(update={"state": "starting", "exit_code": None, "message": ""})
        before = folder.record()
        try:
            self._launch(folder, stored, record, fresh)
        except UserError:
            folder.save(before)
            write_submission(folder.path, submission)
            stored.place.patiently(lambda: stored.write_record(before))
            raise
        return record

    def down(self, run: str, *, delete: bool) -> list[Problem]:
        """End the job and give its machines back; with `delete`, forget the run here. What is in the storage stays."""
        folder = find_run(self.state_root, run)
        try:
            submission, record = read_submission(folder.path), folder.record()
        except UserError:
            shutil.rmtree(folder.path)
            return []
        self._end(submission)
        stored = self._of(record)
        there = stored.place.patiently(stored.record) or record
        if there.state in ACTIVE:
            self._settle(folder, stored, there, "taken down")
        self._looked.pop(folder.run, None)
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
        if self.look(run).state not in ACTIVE:
            return []
        submission = read_submission(folder.path)
        price = f"up to ${submission.usd_per_h:,.2f} an hour" if submission.usd_per_h is not None else "at a price that is not known here"
        what = f"managed job {submission.number}" if submission.kind == "job" else f"cluster {submission.name}"
        return [f"{what} is billed {price} until the run ends, or until `launcher down {folder.run}`"]

    def adopt(self, storage: str, run: str) -> RunFolder:
        """Make a run of `storage` known to this computer, as if it had been submitted here. Raises UserError when the storage has no such run."""
        stored = self._stored(storage, run)
        record = stored.place.patiently(stored.record)
        submission = stored.place.patiently(lambda: stored.json(FILE))
        if record is None or submission is None:
            raise UserError(
                Problem(
                    code="unknown-run",
                    message=f"there is no run '{run}' in this storage",
                    place=storage,
                    fix=f"`launcher ps --storage {storage}` lists its runs",
                )
            )
        folder = create_run(self.state_root, run)
        record = record.model_copy(update={"storage": storage, "output_dir": str(Path("model-out") / run)})
        write_atomic(folder.config_path, (stored.place.patiently(lambda: stored.text(CONFIG)) or "").encode())
        write_submission(folder.path, Submission.model_validate(submission))
        folder.save(record)
        return folder

    def _look(self, folder: RunFolder, now: float) -> RunRecord:
        mine = folder.record()
        if mine.state not in ACTIVE and mine.state != "lost":
            return mine
        submission = read_submission(folder.path)
        stored = self._of(mine)
        there = stored.place.patiently(stored.record) or mine
        usage = stored.place.patiently(stored.usage)
        found = there
        if not speaks(there, usage, submission=submission.id, now=now):
            seen = self._ask(submission, now)
            if is_over(seen) and (last := stored.place.patiently(stored.record)) is not None and last.state not in ACTIVE:
                # Its last word came between the two questions.
                found = last
            else:
                found = judged(there, usage, seen, submission=submission.id)
                if is_over(seen) and found.state in ("failed", "stopped"):
                    stored.place.patiently(lambda: stored.write_record(found))
        # Where the run's files are on its machine says nothing here.
        record = found.model_copy(update={"output_dir": mine.output_dir, "storage": mine.storage, "cwd": mine.cwd})
        if record != mine:
            folder.save(record)
        return record

    def _as_seen(self, folder: RunFolder, record: RunRecord) -> RunRecord:
        try:
            return self.look(folder.run)
        except (OSError, UserError):
            return record

    def _ask(self, submission: Submission, now: float) -> Seen:
        before = self._asked.get(submission.id)
        if before is not None and now - before[0] < self.ask_s:
            return before[1]
        if submission.kind == "cluster":
            seen = self.cloud.cluster_job(submission.name, submission.number)
        elif submission.number is not None:
            seen = self.cloud.job(submission.number)
        else:
            seen = Seen(phase="waiting")
        self._asked[submission.id] = (now, seen)
        return seen

    def _launch(self, folder: RunFolder, stored: StoredRun, record: RunRecord, submission: Submission) -> None:
        write_submission(folder.path, submission)
        folder.save(record)
        stored.place.patiently(lambda: stored.write_record(record))
        stored.place.patiently(lambda: stored.write_json(FILE, submission.model_dump()))
        values = self._secret_values(submission.secrets)
        # The id is no part of the task's text, which a resume submits again.
        variables = {"LAUNCHER_SUBMISSION": submission.id}
        if submission.kind == "job":
            self.report("handing the run to SkyPilot as a managed job, which finds another machine when one is taken away")
            number = self.cloud.launch_job(submission.task, name=submission.name, variables=variables, secrets=values, report=self.report)
        else:
            self.report("having SkyPilot start a machine")
            number = self.cloud.launch_cluster(
                submission.task, name=submission.name, variables=variables, secrets=values, report=self.report
            )
        known = submission.model_copy(update={"number": number})
        write_submission(folder.path, known)
        stored.place.patiently(lambda: stored.write_json(FILE, known.model_dump()))

    def _secret_values(self, names: list[str]) -> dict[str, str]:
        values = {name: self.environment[name] for name in names if self.environment.get(name)}
        if GOOGLE_KEY in names and (path := self.environment.get(GOOGLE_FILE)):
            values[GOOGLE_KEY] = Path(path).read_text(encoding="utf-8")
        return values

    def _end(self, submission: Submission) -> None:
        if submission.kind == "cluster":
            self.cloud.end_cluster(submission.name)
        elif submission.number is not None:
            self.cloud.cancel_job(submission.number)

    def _settle(self, folder: RunFolder, stored: StoredRun, record: RunRecord, message: str) -> None:
        mine = folder.record()
        ended = record.model_copy(update={"state": "stopped", "exit_code": int(ExitCode.INTERRUPTED), "message": message})
        stored.place.patiently(lambda: stored.write_record(ended))
        folder.save(ended.model_copy(update={"output_dir": mine.output_dir, "storage": mine.storage, "cwd": mine.cwd}))

    def _of(self, record: RunRecord) -> StoredRun:
        assert record.storage is not None
        return self._stored(record.storage, record.run)

    def _stored(self, storage: str, run: str) -> StoredRun:
        if storage not in self._opened:
            self._opened[storage] = self.stores(storage)
        return StoredRun(place=RunStore(store=self._opened[storage], run=run))


def check_storage(storage: str | None) -> None:
    """Raise UserError when what a run on a rented machine leaves would be lost: no storage, or a folder of this computer."""
    if storage is None or parse_address(storage).kind == "directory":
        raise UserError(
            Problem(
                code="missing" if storage is None else "conflict",
                path="launch.storage",
                message="a rented machine is given back when the run ends, so checkpoints and the model need an object store"
                + ("" if storage is None else f"; {storage} is a folder of this computer"),
                fix="add --storage s3://BUCKET/PREFIX (or gs://, az://)",
            )
        )


def as_backend(backend: SkyBackend) -> Backend:
    """The same object under the type the command line knows; the type checker proves here that it keeps the Protocol."""
    return backend


def _wants_recovery(wanted: bool | None, *, spot: bool) -> bool:
    return spot if wanted is None else wanted


def _new_id(now: float) -> str:
    return f"{int(now)}-{secrets.token_hex(4)}"


def _forget(stored: StoredRun) -> None:
    for name in ("run.json", FILE, CONFIG):
        stored.place.patiently(lambda name=name: stored.place.store.delete(stored.place.key(name)))  # type: ignore[misc]


def _with_wheel(task: str, folder: Path) -> str:
    """The task with a wheel that is here: on another computer than the one that submitted the run first, that one's is not."""
    content = yaml.safe_load(task)
    mounts = content.get("file_mounts") or {}
    wheels = {target: source for target, source in mounts.items() if target.startswith(f"{HOME}/wheel/")}
    if not wheels or all(Path(source).is_file() for source in wheels.values()):
        return task
    wheel = write_wheel(folder / "wheel")
    content["file_mounts"] = {target: source for target, source in mounts.items() if target not in wheels} | {
        f"{HOME}/wheel/{wheel.name}": str(wheel)
    }
    text: str = yaml.safe_dump(content, sort_keys=False)
    return text


def _checkpoints(stored: StoredRun) -> tuple[CheckpointFolder, ...]:
    steps = stored.place.patiently(stored.place.steps)
    return tuple(
        CheckpointFolder(step=step, path=stored.place.url(f"{CHECKPOINTS}/{step_folder(step)}"), sealed=sealed)
        for step, sealed in sorted(steps.items())
    )


def _spent(usage: Usage, lost: Lost) -> Spent | None:
    if usage.last is None:
        return None
    return Spent(
        hours=usage.hours(), usd=usage.usd, usd_per_h=usage.last.usd_per_h, where=usage.last.where, machines=len(usage.lives), lost=lost
    )
