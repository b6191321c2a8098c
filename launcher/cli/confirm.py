"""Asking before something that costs or destroys."""

from __future__ import annotations

from launcher.cli.output import is_interactive, note
from runtime.config.problem import ExitCode, Problem, UserError


def confirm(question: str, *, yes: bool, no_input: bool) -> None:
    """Return when the answer is yes. Raises UserError when it is no, or when nobody can be asked."""
    if yes:
        return
    if no_input or not is_interactive():
        raise UserError(
            Problem(code="confirmation", message="this needs a confirmation, and there is no terminal to ask on", fix="add -y to confirm")
        )
    note(f"{question} [y/N] ", end="")
    if input().strip().lower() not in ("y", "yes"):
        raise UserError(Problem(code="cancelled", message="cancelled; nothing was changed"), exit_code=ExitCode.CANCELLED)
