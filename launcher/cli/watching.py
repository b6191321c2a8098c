"""The second half of `up` and `resume`: watch the run, say how it ended, and end with its exit code."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from launcher.backend.protocol import ACTIVE, Backend, RunStatus
from launcher.cli.output import emit_json, note, note_problems, say
from launcher.cli.run_json import run_data
from launcher.show.runs import advice_for, last_words
from runtime.config.problem import ExitCode, Problem


def finish(backend: Backend, run: str, *, command: str, detach: bool, quiet: bool, as_json: bool, warnings: Sequence[Problem] = ()) -> int:
    """The run's exit code, or 0 when it was left running."""
    if not detach and _watched(backend, run, quiet=quiet or as_json) == "ended":
        status = backend.status(run)
        backend.release(run)
        _say_end(backend, status, command=command, quiet=quiet, as_json=as_json, warnings=warnings)
        return exit_code_of(status)
    if as_json:
        emit_json(command, run_data(backend.status(run)), warnings=warnings)
    else:
        say(run)
        note(f"{run} goes on without this terminal")
        note(
            f"  launcher logs {run} -f    follows it\n  launcher status {run}     shows how far it is\n  launcher stop {run}       stops it at a sealed checkpoint"
        )
    for sentence in backend.bill(run):
        note(f"  {sentence}")
    return ExitCode.OK


def _watched(backend: Backend, run: str, *, quiet: bool) -> str:
    from rich.console import Console

    from launcher.show.follow import follow

    return follow(backend, run, console=Console(stderr=True), quiet=quiet)


def _say_end(backend: Backend, status: RunStatus, *, command: str, quiet: bool, as_json: bool, warnings: Sequence[Problem]) -> None:
    problems = problems_of(status)
    if as_json:
        emit_json(command, run_data(status), warnings=warnings, problems=problems)
        note_problems(problems)
        return
    if not quiet and status.progress.losses:
        from launcher.show.curves import curves_of, draw

        curves = [curve for curve in curves_of(backend.events(status.record.run).new()) if curve.name in ("loss", "eval_loss")]
        say(draw(curves, width=min(80, shutil.get_terminal_size().columns)))
    if status.record.state == "failed" and not quiet:
        lines = [line for line in backend.log(status.record.run).last(40) if not line.startswith("[supervisor")]
        if lines:
            note("the log ends with:\n" + "\n".join(f"  {line}" for line in lines[-12:]))
    say(last_words(status))


# A run that failed before it trained, by its exit code.
_FAILED: dict[int, str] = {ExitCode.NO_CAPACITY: "no-capacity", ExitCode.REMOTE_REFUSED: "remote-refused"}


def problems_of(status: RunStatus) -> list[Problem]:
    """Why a run that has ended is not done."""
    record = status.record
    if record.state == "done" or record.state in ACTIVE:
        return []
    codes = {"failed": _FAILED.get(record.exit_code or 0, "training-failed"), "unverified": "not-verified", "stopped": "interrupted"}
    return [
        Problem(
            code=codes.get(record.state, record.state),
            message=record.message or f"the run is {record.state}",
            place=record.run,
            fix=advice_for(record),
        )
    ]


def exit_code_of(status: RunStatus) -> int:
    """The exit code of a run that has ended."""
    record = status.record
    if record.state in ("lost", "orphaned"):
        return ExitCode.INTERRUPTED
    return record.exit_code if record.exit_code is not None else ExitCode.INTERNAL
