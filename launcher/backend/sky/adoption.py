"""Runs that another computer submitted, or submitted again, made known to this one by their storage."""

from __future__ import annotations

from pathlib import Path

from launcher.backend.sky.submission import FILE, Submission, read_submission, write_submission
from launcher.state.runs import RunFolder, create_run
from launcher.state.stored_run import CONFIG, StoredRun
from runtime.config.problem import Problem, UserError
from runtime.record import write_atomic


def adopt(state_root: Path, stored: StoredRun, *, storage: str, run: str) -> RunFolder:
    """The run's folder here, as if it had been submitted here. Raises UserError when the storage has no such run."""
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
    folder = create_run(state_root, run)
    record = record.model_copy(update={"storage": storage, "output_dir": str(Path("model-out") / run)})
    write_atomic(folder.config_path, (stored.place.patiently(lambda: stored.text(CONFIG)) or "").encode())
    write_submission(folder.path, Submission.model_validate(submission))
    folder.save(record)
    return folder


def catch_up(folder: RunFolder, stored: StoredRun) -> Submission:
    """The run's newest submission, which is another computer's when the run was resumed there; it is known here from then on."""
    mine = read_submission(folder.path)
    there = stored.place.patiently(lambda: stored.json(FILE))
    if there is None or there.get("id") == mine.id:
        return mine
    newest = Submission.model_validate(there)
    if newest.submitted <= mine.submitted:
        return mine
    write_submission(folder.path, newest)
    return newest
