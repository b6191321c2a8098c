"""A run that another computer has, or had, as its storage tells of it."""

from __future__ import annotations

from launcher.state.stored_run import StoredRun, stored_runs
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.patience import Patience
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import Problem, UserError
from runtime.record import RunRecord

ELSEWHERE = "elsewhere"
"""The backend of such a record: nothing that it says of folders is about this computer."""
# Longer than a hiccup, and not so long that somebody who waits takes it for a hang.
PATIENCE = Patience(seconds=30.0)


def run_elsewhere(storage: str, name: str) -> RunRecord:
    """The record of the one run in `storage` that is called `name`, or begins so.

    Raises UserError `unknown-run`, `ambiguous-run`, and when the storage cannot be reached or the record cannot be read.
    """
    place = RunStore(store=open_store(storage), run=name, patience=PATIENCE)
    found = place.patiently(lambda: stored_runs(place.store, wanted=lambda run: run.startswith(name)), storage)
    if name in found:
        found = [name]
    if not found:
        raise UserError(
            Problem(
                code="unknown-run",
                message=f"there is no run '{name}' in this storage",
                place=storage,
                fix="the storage is the folder or prefix that holds the run's own, as launch.storage names it",
            )
        )
    if len(found) > 1:
        raise UserError(
            Problem(
                code="ambiguous-run",
                message=f"{len(found)} runs begin with '{name}': {', '.join(found[:8])}",
                place=storage,
                fix="give more of the name",
            )
        )
    stored = StoredRun(place=RunStore(store=place.store, run=found[0], patience=PATIENCE))
    record = stored.place.patiently(stored.record)
    if record is None:
        raise UserError(Problem(code="unknown-run", message=f"run '{found[0]}' was removed meanwhile", place=storage))
    return record.model_copy(update={"run": found[0], "storage": storage, "backend": ELSEWHERE})
