"""Rules about a recipe and the machine it is for. Nothing here looks at a machine: the facts are an argument, and without them nothing is said."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.document import Document, dotted
from runtime.config.environment import devices, packages, parallel, sizes
from runtime.config.environment.machine import Machine, ModelShape
from runtime.config.environment.resolved import Resolved, resolve
from runtime.config.finding import Finding
from runtime.config.problem import Problem
from runtime.config.schema import TrainingConfig

__all__ = ["RULES", "Machine", "ModelShape", "Resolved", "check", "problems", "resolve"]

RULES = (*devices.RULES, *parallel.RULES, *sizes.RULES, *packages.RULES)


def check(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """Everything in `config` that `machine` cannot do, or does badly: findings of code `environment`."""
    for rule in RULES:
        yield from rule(config, machine)


def problems(config: TrainingConfig, machine: Machine, document: Document | None = None) -> tuple[list[Problem], list[Problem]]:
    """The errors and the warnings about `config` on `machine`, each where it stands in `document`, or with its option's path alone."""
    errors: list[Problem] = []
    warnings: list[Problem] = []
    for finding in check(config, machine):
        problem = (
            document.problem(finding.path, code=finding.code, message=finding.message, fix=finding.fix)
            if document is not None
            else Problem(code=finding.code, path=dotted(finding.path), message=finding.message, fix=finding.fix)
        )
        (warnings if finding.warning else errors).append(problem)
    return errors, warnings
