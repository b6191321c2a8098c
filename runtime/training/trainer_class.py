"""A trainer class of the user's own, taken into the run."""

from __future__ import annotations

import importlib
from typing import Any

from transformers import Trainer

from runtime.config.problem import Problem, UserError
from runtime.training.trainer import RunTrainer


def trainer_class(config: Any) -> type[RunTrainer]:
    """The class that trains: the run's own or, with `trainer_cls`, one that has the user's between it and transformers' Trainer.

    The user's class decides what the run's own leaves to its parent: loss, optimizer, logging. Saving, stopping, the order of rows and the losses' record stay
    the run's, as resuming depends on them. Raises UserError when the class cannot be imported or is no Trainer.
    """
    path = config.trainer_cls
    if not path:
        return RunTrainer
    module, _, name = path.rpartition(".")
    if not module:
        raise _refused(path, "it is no import path", "write it as package.module.Class")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise _refused(
            path, f"it cannot be imported: {error}", "it must be importable where the run trains: installed there, or on PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Trainer)):
        raise _refused(path, "it is no subclass of transformers.Trainer", "derive it from transformers.Trainer")
    if issubclass(found, RunTrainer):
        return found
    try:
        return type(f"Run{name}", (RunTrainer, found), {})
    except TypeError as error:
        raise _refused(
            path, f"it does not go together with the run's own trainer: {error}", "derive it from transformers.Trainer alone"
        ) from error


def _refused(path: str, why: str, fix: str) -> UserError:
    return UserError(Problem(code="wrong-type", path="trainer_cls", place=path, message=why, fix=fix))
