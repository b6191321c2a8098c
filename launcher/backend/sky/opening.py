"""The first submission of a run: refused before anything is rented, or put where its machine will find it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.backend.job import Job
from launcher.backend.sky.handover import new_id
from launcher.backend.sky.submission import FILE, Submission
from launcher.state.runs import RunFolder
from launcher.state.stored_inputs import remove_inputs, send_inputs
from launcher.state.stored_run import CONFIG, RECORD, StoredRun
from launcher.task.making import Made, make_task
from launcher.task.task import render_task
from launcher.task.wheel import write_wheel
from runtime.config.problem import Problem, UserError
from runtime.record import RunRecord, write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Opens runs of `backend`, the word of their records. `templates` are the user's own; `report` takes a line of progress."""

    backend: str
    environment: Mapping[str, str]
    templates: tuple[Path, ...]
    report: Callable[[str], None]

    def prepare(self, job: Job, folder: RunFolder, stored: StoredRun, now: float) -> tuple[RunRecord, Submission]:
        """The run's record and what SkyPilot is to be given, with config and inputs in the storage. Raises UserError."""
        from runtime.config.load import config_hash

        launch = job.config.launch
        made = make_task(
            job.config,
            run=job.run,
            recipe=job.recipe,
            cwd=job.cwd,
            environment=self.environment,
            offers=job.offers,
            room=job.room,
            chaos=job.chaos,
            expected_gib=job.expected_gib,
            wheel=None if launch.image else write_wheel(folder.path / "wheel"),
            mounts_inputs=False,
        )
        submission = Submission(
            id=new_id(now),
            kind="job" if _wants_recovery(launch.recovery.machines, spot=any(choice.spot for choice in made.task.choices)) else "cluster",
            name=job.run,
            submitted=now,
            usd_per_h=made.usd_per_h,
            task=render_task(made.task, folders=self.templates),
            secrets=list(made.task.secrets),
        )
        record = RunRecord(
            run=job.run,
            recipe=job.recipe,
            backend=self.backend,
            output_dir=job.config.output_dir,
            storage=launch.storage,
            created=now,
            processes=launch.processes or 1,
            cwd=str(job.cwd),
            chaos=list(job.chaos),
            config_hash=config_hash(made.config),
            sweep=job.sweep,
            values=dict(job.values),
        )
        folder.save(record)
        self._send(made, stored)
        keep_config(folder, stored, made.task.config_text)
        return record, submission

    def _send(self, made: Made, stored: StoredRun) -> None:
        if made.inputs:
            self.report(f"sending the run's inputs to {stored.place.url()}")
        send_inputs(stored, [file for item in made.inputs for file in item.files()])


def keep_config(folder: RunFolder, stored: StoredRun, text: str) -> None:
    """Keep the config that the run's machine trains with, here and in its storage."""
    write_atomic(folder.config_path, text.encode())
    stored.place.patiently(lambda: stored.place.store.put_bytes(stored.place.key(CONFIG), text.encode()))


def refuse_taken(stored: StoredRun, run: str, storage: str) -> None:
    """Raise UserError when the storage has a run of that name."""
    stored.place.patiently(lambda: stored.place.store.capabilities)
    if stored.place.patiently(stored.record) is not None:
        raise UserError(
            Problem(
                code="run-exists",
                message=f"the storage has a run called '{run}'",
                place=stored.place.url(),
                fix=f"choose another --name, or go on with that one: `launcher resume {run} --storage {storage}`",
            )
        )


def take_back(stored: StoredRun) -> None:
    """Remove from the storage what makes it a run, and what was sent for it; a storage that does not answer keeps it."""
    with suppress(OSError, UserError):
        for name in (RECORD, FILE, CONFIG):
            stored.place.patiently(lambda name=name: stored.place.store.delete(stored.place.key(name)))  # type: ignore[misc]
        remove_inputs(stored)


def _wants_recovery(wanted: bool | None, *, spot: bool) -> bool:
    return spot if wanted is None else wanted
