"""What a recipe's target can and cannot do with it, before anything is rented or started."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runtime.config.environment import Machine, ModelShape, Resolved, problems, resolve
from runtime.config.environment.machine import capability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launcher.estimate.facts import ModelFacts
    from launcher.estimate.gpus import GpuCount
    from launcher.estimate.hardware import Hardware
    from runtime.config.document import Document
    from runtime.config.problem import Problem
    from runtime.config.schema import TrainingConfig


def machine_of(hardware: Hardware, facts: ModelFacts | None = None) -> Machine:
    """The hardware of an estimate as the rules see it, with the model's shape where it is known. Packages are not: they are the runtime's."""
    shape = _shape(facts) if facts is not None else None
    if hardware.gpus is None:
        return Machine(nodes=hardware.nodes, processes=hardware.processes, model=shape)
    return replace(
        rented_machine(hardware.gpus, nodes=hardware.nodes),
        memory_per_gpu_gib=hardware.capacity_gib,
        processes=hardware.processes,
        model=shape,
    )


def rented_machine(gpus: GpuCount, *, nodes: int = 1) -> Machine:
    """So many GPUs of a kind on each of `nodes`, one process each."""
    return Machine(
        gpu=gpus.gpu.name,
        compute_capability=capability(gpus.gpu.compute_capability),
        gpus_per_node=gpus.count,
        nodes=nodes,
        memory_per_gpu_gib=gpus.gpu.capacity_gib,
    )


def target_problems(
    config: TrainingConfig, machines: Sequence[Machine], document: Document | None = None
) -> tuple[list[Problem], list[Problem], list[Resolved]]:
    """Errors and warnings on any of `machines`, each told once, and what `auto` comes to on them."""
    errors: list[Problem] = []
    warnings: list[Problem] = []
    resolved: list[Resolved] = []
    for machine in machines:
        more, said = problems(config, machine, document)
        errors += [problem for problem in more if problem not in errors]
        warnings += [problem for problem in said if problem not in warnings]
        resolved += [one for one in resolve(config, machine) if one not in resolved]
    return errors, warnings, resolved


def _shape(facts: ModelFacts) -> ModelShape:
    heads = {(block.heads, block.kv_heads) for _, block in facts.blocks}
    # Where layers differ, a size must divide all of them; the rules look at one number, so only a shared one is told.
    one = next(iter(heads)) if len(heads) == 1 else (None, None)
    return ModelShape(heads=one[0], kv_heads=one[1], context=facts.max_positions or None, parameters=facts.parameters or None)
