"""Which Python interpreter trains: one that has the training stack, named, found or made."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from launcher.backend.local.child_environment import training_environment
from runtime.config.problem import Problem, UserError

STACK = ("torch", "transformers", "peft", "datasets")
"""Packages whose presence says that an environment has the training stack."""

_PROBE = f"import importlib.util as u; print('missing:' + ','.join(n for n in {STACK!r} if u.find_spec(n) is None))"


def find_interpreter(environment: Mapping[str, str], *, managed: Path, make: Callable[[], Path] | None) -> Path:
    """The interpreter that LAUNCHER_RUNTIME_PYTHON names; else our own if it has the training stack; else the managed one.

    `managed` is the managed environment's interpreter once that is complete; while it is missing, `make` makes it and returns it. Raises UserError when
    the named interpreter cannot be used, or when there is none and `make` is None.
    """
    if named := environment.get("LAUNCHER_RUNTIME_PYTHON"):
        return _checked(named, environment)
    if has_stack_here():
        return Path(sys.executable)
    if managed.exists():
        return managed
    if make is None:
        raise UserError(
            Problem(
                code="missing-interpreter",
                message="no Python environment with the training stack was found",
                fix="run `launcher up` once to make one, or set LAUNCHER_RUNTIME_PYTHON",
            )
        )
    return make()


def has_stack_here() -> bool:
    """Whether this very interpreter has the training stack; nothing is imported."""
    return all(importlib.util.find_spec(name) is not None for name in STACK)


def _checked(named: str, environment: Mapping[str, str]) -> Path:
    place = f"LAUNCHER_RUNTIME_PYTHON={named}"
    mend = "give the path of a Python that has the training stack, or unset it to have an environment made"
    found = shutil.which(Path(named).expanduser())
    if found is None:
        raise UserError(Problem(code="missing-interpreter", message="no such executable", place=place, fix=mend))
    try:
        # What it will train with, and none of the secrets.
        variables = training_environment(environment, secrets=())
        probe = subprocess.run([found, "-c", _PROBE], env=variables, capture_output=True, text=True, timeout=60, check=True)
        missing = next(line.removeprefix("missing:") for line in probe.stdout.splitlines() if line.startswith("missing:"))
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        detail = str(error) or "it did not answer"
        raise UserError(
            Problem(code="missing-interpreter", message=f"this does not work as a Python interpreter: {detail}", place=place, fix=mend)
        ) from error
    if missing:
        raise UserError(
            Problem(
                code="missing-package",
                message=f"this interpreter lacks {missing.replace(',', ', ')}",
                place=place,
                fix=f"install `finetune-launcher[train]` there, or {mend}",
            )
        )
    # Not resolved: a virtual environment's interpreter is a link, and following it would leave the environment.
    return Path(found).absolute()
