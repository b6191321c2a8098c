"""`launcher up` of a sweep: plan all runs, confirm once, start them, watch them, compare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.backend.job import Job
from launcher.backend.protocol import Backend
from launcher.cli.backends import local_backend, sky_backend
from launcher.cli.confirm import confirm
from launcher.cli.decision import SweepDecision
from launcher.cli.output import note, note_problems
from launcher.cli.sweeping import decide_sweep
from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from launcher.cli.request import Request
    from launcher.recipe.grid import Grid


def up_sweep(
    request: Request, grid: Grid | None, *, dry_run: bool, detach: bool, yes: bool, no_input: bool, quiet: bool, as_json: bool
) -> int:
    """Exit code of the sweep. Nothing is started unless every run may start."""
    from launcher.cli.locked import decide_locked_sweep
    from launcher.cli.needs import check_cap
    from launcher.cli.showing import show_plan
    from launcher.cli.targets import is_here
    from launcher.cli.watching_sweep import finish_sweep

    decision = decide_sweep(request, grid) if grid is not None else decide_locked_sweep(request)
    note_problems(decision.warnings, kind="warning")
    _require(decision, request.environment)
    if (code := show_plan(decision, command="up", dry_run=dry_run, quiet=quiet, as_json=as_json)) is not None:
        return code
    for run in decision.runs:
        check_cap(run.job)
    here = is_here(decision.runs[0].job.config.launch)
    confirm(f"start these {len(decision.runs)} runs?", yes=yes, no_input=no_input or as_json)
    backend: Backend = local_backend(quiet=quiet) if here else sky_backend(quiet=quiet, templates=request.templates)
    runs, left = start_all(backend, jobs_of([run.job for run in decision.runs], here=here), quiet=quiet)
    return finish_sweep(
        backend,
        decision.name,
        runs,
        command="up",
        detach=detach,
        quiet=quiet,
        as_json=as_json,
        warnings=decision.warnings,
        left=left,
        in_turn=here,
    )


def _require(decision: SweepDecision, environment: Mapping[str, str]) -> None:
    """Raise UserError with everything that a run lacks, and with it the plan's own refusals: all is told at once."""
    from launcher.cli.needs import check_needs

    problems: list[Problem] = []
    codes: set[ExitCode] = set()
    for run in decision.runs:
        try:
            check_needs(run.job.config, environment)
        except UserError as error:
            problems += [problem for problem in error.problems if problem not in problems]
            codes.add(error.exit_code)
    if codes:
        raise UserError([*problems, *decision.refusals], exit_code=codes.pop() if len(codes) == 1 else ExitCode.INVALID)


def jobs_of(jobs: Sequence[Job], *, here: bool) -> list[Job]:
    """The jobs as they are submitted: one after another where there is one machine; elsewhere side by side, which managed jobs are made for."""
    if here:
        return [replace(job, after=jobs[at - 1].run if at else None) for at, job in enumerate(jobs)]
    return [_managed(job) for job in jobs]


def _managed(job: Job) -> Job:
    launch = job.config.launch
    if launch.recovery.machines is not None:
        return job
    # A cluster is waited for until it runs, a managed job is not: without this the last run would begin when all others have been set up.
    launch = launch.model_copy(update={"recovery": launch.recovery.model_copy(update={"machines": True})})
    return replace(job, config=job.config.model_copy(update={"launch": launch}))


def start_all(backend: Backend, jobs: Sequence[Job], *, quiet: bool) -> tuple[list[str], list[Problem]]:
    """The runs that were started, and why others were not. Raises UserError when none was, and KeyboardInterrupt after telling what was."""
    runs: list[str] = []
    left: list[Problem] = []
    first: UserError | None = None
    waits_for: str | None = None
    for job in jobs:
        try:
            # A run that could not start is nobody's turn to wait for.
            record = backend.submit(replace(job, after=waits_for) if job.after is not None else job)
        except UserError as error:
            first = first or error
            left += [replace(problem, message=f"{job.run} was not started: {problem.message}") for problem in error.problems]
            continue
        except KeyboardInterrupt:
            _say_started(backend, runs)
            raise
        runs.append(record.run)
        waits_for = record.run
        if not quiet:
            note(f"run {record.run}, {' '.join(f'{name}={value}' for name, value in job.values.items())}")
    if first is not None and not runs:
        raise first
    note_problems(left)
    return runs, left


def _say_started(backend: Backend, runs: Sequence[str]) -> None:
    if not runs:
        return
    note(f"{', '.join(runs)} had been started and go on; `launcher down RUN` ends one")
    for run in runs:
        for sentence in backend.bill(run):
            note(f"  {sentence}")
