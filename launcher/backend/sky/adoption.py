"""Runs that another computer submitted, or submitted again, made known to this one by their storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from launcher.backend.sky.submission import FILE, Submission, read_submission, write_submission
from launcher.state.runs import RunFolder, create_run
from launcher.state.stored_run import CONFIG, StoredRun
from runtime.config.problem import Problem, UserError
from runtime.record import write_atomic


def adopt(state_root: Path, stored: StoredRun, *, storage: str, run: str) -> RunFolder:
    """The run's folder here, as if it had been submitted here. Raises UserError when the storage has no such run, or one that was on no rented machine."""
    record = stored.place.patiently(stored.record)
    submission = stored.place.patiently(lambda: stored.json(FILE))
    if record is not None and record.backend == "local":
        raise UserError(
            Problem(
                code="not-rented",
                message="it ran on a computer of somebody's own, and what it is doing is known there",
                place=stored.place.url(),
                fix=f"`launcher pull {run} --storage {storage}` copies its model; `launcher up RECIPE --cloud local --name {run} --storage {storage}` goes on with it here",
            )
        )
    if record is None or submission is None:
        raise UserError(
            Problem(
                code="unknown-run",
                message=f"there is no run '{run}' in this storage",
                place=storage,
                fix=f"`launcher ps --storage {storage}` lists its runs",
            )
        )
    known = _submission(submission, stored.place.url(FILE))
    folder = create_run(state_root, run)
    record = record.model_copy(update={"storage": storage, "output_dir": str(Path("model-out") / run)})
    write_atomic(folder.config_path, (stored.place.patiently(lambda: stored.text(CONFIG)) or "").encode())
    write_submission(folder.path, known)
    folder.save(record)
    return folder


def catch_up(folder: RunFolder, stored: StoredRun) -> Submission:
    """The run's newest submission, which is another computer's when the run was resumed there; it is known here from then on."""
    mine = read_submission(folder.path)
    there = stored.place.patiently(lambda: stored.json(FILE))
    if there is None or there.get("id") == mine.id:
        return mine
    newest = _submission(there, stored.place.url(FILE))
    if newest.submitted <= mine.submitted:
        return mine
    write_submission(folder.path, newest)
    return newest


def _submission(said: dict[str, Any], place: str) -> Submission:
    try:
        return Submission.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = Problem(
            code="bad-record",
            message=f"this is no submission of a run: {where}: {first['msg']}",
            place=place,
            fix="pip install --upgrade finetune-launcher, if a newer version of it has written this; else submit the run again",
        )
        raise UserError(problem) from error
