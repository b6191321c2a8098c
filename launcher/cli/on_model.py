"""What `chat`, `merge` and `evaluate` share: check that there is a model, then hand the terminal to the runtime."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from launcher.backend.local.foreground import run_command
from launcher.backend.protocol import ACTIVE
from launcher.cli.backends import full_name, local_backend
from launcher.cli.output import emit_json
from launcher.show.runs import model_folder
from launcher.state.runs import find_run
from runtime.config.problem import ExitCode, Problem, UserError


def on_model(run: str, command: str, arguments: Sequence[str] = (), *, writes: bool, as_json: bool = False) -> int:
    """Exit code of the runtime command on the run's final model. `writes` refuses while the run itself is at work.

    With `as_json` the runtime's own object is taken over under the launcher's schema.
    """
    backend = local_backend()
    record = backend.look(full_name(backend, run))
    if model_folder(record) is None:
        raise UserError(
            Problem(
                code="no-model",
                message=f"run '{record.run}' has no final model yet ({record.state})",
                fix=f"`launcher status {record.run}` shows how far it is",
            )
        )
    if writes and record.state in ACTIVE:
        raise UserError(
            Problem(
                code="run-active",
                message=f"run '{record.run}' is at work ({record.state})",
                fix=f"`launcher logs {record.run} -f` follows it",
            )
        )
    folder = find_run(backend.state_root, record.run)
    code, printed = run_command(
        folder, record, command, [*arguments, *(["--json"] if as_json else [])], environment=os.environ, capture=as_json
    )
    if as_json:
        _take_over(command, printed, code)
    return code


def _take_over(command: str, printed: str, code: int) -> None:
    try:
        said = json.loads(printed)
    except ValueError:
        said = {}
    problems = []
    if code != ExitCode.OK:
        error = said.get("error") or {}
        problems = [
            Problem(
                code=str(error.get("code") or "runtime"),
                message=str(error.get("message") or f"the runtime ended with exit code {code}"),
                fix=str(error.get("fix") or ""),
                place=str(error.get("where") or ""),
            )
        ]
    emit_json(command, said.get("data"), problems=problems)
