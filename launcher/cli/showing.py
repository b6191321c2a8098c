"""A plan shown before anything starts, and the end of a command that has only that to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.cli.output import emit_json, note, say
from runtime.config.problem import ExitCode, UserError

if TYPE_CHECKING:
    from launcher.cli.decision import Decision, SweepDecision


def show_plan(decision: Decision | SweepDecision, *, command: str, dry_run: bool, quiet: bool, as_json: bool) -> ExitCode | None:
    """The exit code where the command ends with the plan, None where it goes on. Raises UserError (exit 3) for a refused plan."""
    if dry_run and as_json:
        emit_json(command, dict(decision.plan), warnings=decision.warnings, problems=decision.refusals)
        return ExitCode.REFUSED if decision.refusals else ExitCode.OK
    if dry_run:
        say(decision.screen)
    elif not quiet:
        note(decision.screen)
    if decision.refusals:
        raise UserError(decision.refusals, exit_code=ExitCode.REFUSED)
    return ExitCode.OK if dry_run else None
