"""`launcher resume SWEEP`: on with every run of it that is neither done nor at work."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.backend.bounds import Bounds
from launcher.backend.protocol import ACTIVE, Backend
from launcher.cli.output import note, note_problems
from launcher.cli.watching_sweep import finish_sweep
from runtime.config.problem import Problem, UserError


def resume_sweep(sweep: str, backend: Backend, runs: Sequence[str], *, bounds: Bounds, detach: bool, quiet: bool, as_json: bool) -> int:
    """Exit code of the sweep. Raises UserError when no run can go on, and for a cap on money, which belongs to one run."""
    if bounds.max_cost_usd is not None:
        raise UserError(
            Problem(
                code="usage",
                place="--max-cost",
                message=f"{sweep} is a sweep, and each of its runs has a part of its budget",
                fix=f"resume one run with a new cap: launcher resume {runs[0]} --max-cost USD",
            )
        )
    here = backend.name == "local"
    left: list[Problem] = []
    first: UserError | None = None
    before: str | None = None
    for run in runs:
        state = backend.look(run).state
        if state == "done":
            continue
        if state not in ACTIVE:
            try:
                backend.resume(run, bounds, after=before if here else None)
            except UserError as error:
                first = first or error
                left += error.problems
                continue
            if not quiet:
                note(f"{run}: going on")
        before = run
    if before is None:
        raise first or UserError(
            Problem(code="run-done", message=f"every run of {sweep} is done", fix=f"`launcher status {sweep}` compares them")
        )
    note_problems(left)
    return finish_sweep(backend, sweep, runs, command="resume", detach=detach, quiet=quiet, as_json=as_json, left=left, in_turn=here)
