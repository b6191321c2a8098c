"""One runtime command on a run's model, in this terminal: chat, merge, evaluate."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from launcher.backend.local.child_environment import check_secrets, training_environment
from launcher.backend.local.runtime_path import runtime_only_path
from launcher.state.runs import RunFolder
from runtime.config.load import load_config
from runtime.config.problem import Problem, UserError
from runtime.config.secrets import handed_secrets
from runtime.record import RunRecord


def run_command(
    folder: RunFolder,
    record: RunRecord,
    command: str,
    arguments: Sequence[str] = (),
    *,
    environment: Mapping[str, str],
    capture: bool = False,
) -> tuple[int, str]:
    """Exit code of `python -m runtime COMMAND` with the run's interpreter, config, working folder and secrets, and its stdout when `capture`.

    It shares the terminal; Ctrl-C is its own to handle. Raises UserError when a secret or the interpreter is missing.
    """
    config = load_config(folder.config_path).config
    assert config is not None
    check_secrets(config.launch.secrets, environment)
    python = Path(record.python)
    if not python.exists():
        raise UserError(
            Problem(
                code="missing-interpreter",
                message="the interpreter this run was trained with is gone",
                place=record.python,
                fix=f"`launcher resume {record.run}` finds or makes another one",
            )
        )
    variables = training_environment(
        environment, secrets=handed_secrets(config), python=python, runtime_path=runtime_only_path(folder.path.parent.parent)
    )
    before = signal.signal(signal.SIGINT, _leave_to_child)
    try:
        finished = subprocess.run(
            [str(python), "-m", "runtime", command, str(folder.config_path), *arguments],
            env=variables,
            cwd=record.cwd,
            stdout=subprocess.PIPE if capture else None,
            text=True,
            check=False,
        )
    except OSError as error:
        raise UserError(
            Problem(
                code="missing-interpreter",
                message=f"cannot start the runtime: {error.strerror}",
                place=str(error.filename),
                fix="check that the folder the run was started in and its interpreter are still there",
            )
        ) from error
    finally:
        signal.signal(signal.SIGINT, before)
    return finished.returncode, finished.stdout or ""


def _leave_to_child(_number: int, _frame: FrameType | None) -> None:
    """The terminal sends Ctrl-C to both; only the child knows what it means."""
