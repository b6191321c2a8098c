"""The machine this process trains on, as the rules about recipes and machines see it, and the refusal of a recipe it cannot train."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from importlib.metadata import distributions
from typing import Any

from runtime.config.environment import Machine, problems, resolve
from runtime.config.problem import Problem, UserError
from runtime.training.processes import Rank


def this_machine(rank: Rank) -> Machine:
    """The GPU of this process, the processes of the run, and the installed packages. The nodes of a run are taken to be alike."""
    import torch

    local = int(os.environ.get("LOCAL_WORLD_SIZE", rank.world_size))
    here = {"processes": rank.world_size, "nodes": max(1, rank.world_size // max(1, local)), "packages": installed()}
    if not torch.cuda.is_available():
        return Machine(**here)
    device = rank.local % torch.cuda.device_count()
    return Machine(
        gpu=torch.cuda.get_device_name(device),
        # ROCm answers with numbers of its own, which say nothing about NVIDIA's.
        compute_capability=None if torch.version.hip else torch.cuda.get_device_capability(device),
        gpus_per_node=local,
        memory_per_gpu_gib=torch.cuda.get_device_properties(device).total_memory / 2**30,
        **here,
    )


def installed() -> frozenset[str]:
    """The installed distributions by their normalized names."""
    names = (distribution.metadata["Name"] for distribution in distributions())
    return frozenset(re.sub(r"[-_.]+", "-", name).lower() for name in names if name)


def fit_for(config: Any, machine: Machine) -> list[str]:
    """What is to be said about `config` on `machine`: warnings, and what a written `auto` comes to.

    Raises UserError with everything that cannot be trained there.
    """
    errors, warnings = problems(config, machine)
    if errors:
        raise UserError(errors)
    said = [f"warning: {problem.path}: {problem.message}" for problem in warnings]
    return said + [str(one) for one in resolve(config, machine) if one.option in config.model_fields_set]


def together(*checks: Callable[[], object]) -> None:
    """Make every check. Raises one UserError with the problems of all that raised one, each option told once."""
    found: dict[str, Problem] = {}
    for check in checks:
        try:
            check()
        except UserError as error:
            for problem in error.problems:
                found.setdefault(problem.path or str(problem), problem)
    if found:
        raise UserError(found.values())
