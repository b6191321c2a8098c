"""The second half of `up` for a sweep: watch the runs, compare them, and end with one exit code for all."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.backend.protocol import ACTIVE, Backend, RunStatus
from launcher.cli.output import emit_json, note, say
from launcher.cli.sweep_json import sweep_data
from launcher.cli.watching import exit_code_of, problems_of
from launcher.show.comparison import render_comparison
from runtime.config.problem import ExitCode, Problem

# What matters most comes first: a run that failed is looked at before one that can go on.
_GRAVEST = (
    ExitCode.INTERNAL,
    ExitCode.TRAINING_FAILED,
    ExitCode.REMOTE_REFUSED,
    ExitCode.NO_CAPACITY,
    ExitCode.REFUSED,
    ExitCode.INVALID,
    ExitCode.NOT_VERIFIED,
    ExitCode.INTERRUPTED,
)


def finish_sweep(
    backend: Backend,
    sweep: str,
    runs: Sequence[str],
    *,
    command: str,
    detach: bool,
    quiet: bool,
    as_json: bool,
    warnings: Sequence[Problem] = (),
    left: Sequence[Problem] = (),
    in_turn: bool,
) -> int:
    """The gravest exit code among the runs, or 0 when they were left running and all had started. `in_turn`: they run one after another here."""
    ended = not detach and _watched(backend, runs, quiet=quiet or as_json, in_turn=in_turn)
    statuses = [backend.status(run) for run in runs]
    for status in statuses:
        if status.record.state not in ACTIVE:
            backend.release(status.record.run)
    problems = [*left, *(problem for status in statuses for problem in problems_of(status))]
    if as_json:
        emit_json(command, sweep_data(sweep, statuses), warnings=warnings, problems=problems)
    else:
        if not ended:
            _say_left(backend, sweep, statuses)
        say(render_comparison(sweep, statuses) if ended else sweep)
    codes = [ExitCode.REMOTE_REFUSED] if left else []
    codes += [ExitCode(exit_code_of(status)) for status in statuses if status.record.state not in ACTIVE]
    return next((code for code in _GRAVEST if code in codes), ExitCode.OK)


def _watched(backend: Backend, runs: Sequence[str], *, quiet: bool, in_turn: bool) -> bool:
    """Whether all runs have ended, rather than the watching."""
    from rich.console import Console

    from launcher.show.follow import follow
    from launcher.show.follow_all import follow_all

    console = Console(stderr=True)
    if not in_turn:
        return follow_all(backend, runs, console=console, quiet=quiet) == "ended"
    for run in runs:
        if not quiet:
            note(f"{run}:")
        if follow(backend, run, console=console, quiet=quiet) == "detached":
            return False
    return True


def _say_left(backend: Backend, sweep: str, statuses: Sequence[RunStatus]) -> None:
    going = [status.record.run for status in statuses if status.record.state in ACTIVE]
    note(f"{len(going)} of {len(statuses)} runs of {sweep} go on without this terminal")
    note(
        f"  launcher status {sweep}    compares them\n  launcher stop {sweep}      stops them at sealed checkpoints\n  launcher logs RUN -f    follows one"
    )
    for run in going:
        for sentence in backend.bill(run):
            note(f"  {sentence}")
