"""Bytes of an optimizer's states between steps, and of what it needs on top while it steps."""

from __future__ import annotations

import re

from launcher.estimate.facts import Matrix, ModelFacts
from launcher.estimate.optimizer_kinds import OptimizerKind, kind_of
from launcher.estimate.weights import (
    adapter_parameters,
    embedding_parameters_trained,
    largest_matrix,
    largest_tensor,
    trained_bytes_each,
    trained_parameters,
)
from launcher.estimate.workload import Workload


def state_bytes(facts: ModelFacts, workload: Workload, *, each: float | None = None) -> float:
    """Bytes of the states of all trained elements, whole, that the allocator holds. `each`: bytes of a trained element where it differs from the weights'
    own. Paged states are managed memory, which the allocator never sees."""
    if kind_of(workload.optimizer).paged and workload.device == "cuda":
        return 0.0
    return saved_state_bytes(facts, workload, each=each)


def saved_state_bytes(facts: ModelFacts, workload: Workload, *, each: float | None = None) -> float:
    """Bytes of the states of all trained elements wherever they live, as a checkpoint holds them."""
    kind = kind_of(workload.optimizer)
    size = float(trained_bytes_each(workload)) if each is None else each
    trained = trained_parameters(facts, workload)
    per_element = (kind.copies + (kind.compensation if size < 4 else 0)) * size + kind.extra
    states = trained * per_element
    if kind.embedding_extra is not None:
        states += embedding_parameters_trained(facts, workload) * (kind.embedding_extra - kind.extra)
    if kind.hidden_only:
        states += max(0, trained - _hidden_parameters(facts, workload)) * size
    if kind.low_rank and workload.adapter is None:
        states += _projected(facts, workload, kind, per_element=per_element, size=size)
    return max(0.0, states)


def step_bytes(facts: ModelFacts, workload: Workload, *, each: float | None = None) -> float:
    """Bytes alive only while the optimizer steps, whole."""
    kind = kind_of(workload.optimizer)
    size = float(trained_bytes_each(workload)) if each is None else each
    largest = largest_tensor(facts, workload)
    before = min(largest, _second(facts, workload))
    if kind.hidden_only:
        # The update in its own format, and three 16-bit matrices of the iteration (torch.optim.Muon).
        return before * (size + 6)
    if kind.takes == "together" or (kind.takes == "foreach" and workload.foreach):
        # Inside the backward pass every tensor has a step of its own.
        return (largest if workload.steps_in_backward else trained_parameters(facts, workload)) * size * kind.together
    if kind.takes == "kernel" and workload.device == "cuda":
        return 0.0
    wide = kind.wide + (kind.widened if size < 4 else 0)
    return _one_by_one(kind.alone, largest, before) * size + _one_by_one(wide, largest, before) * 4


def _one_by_one(copies: int, largest: int, before: int) -> float:
    """Elements of so many copies while the largest tensor is updated: what the tensor before left is freed only when its names are taken again."""
    return float(max(1, copies - 1) * largest + (before if copies > 1 else 0)) if copies else 0.0


def _second(facts: ModelFacts, workload: Workload) -> int:
    """Elements of the biggest trained tensor of a block."""
    if workload.adapter is not None:
        return largest_tensor(facts, workload)
    matrix = largest_matrix(facts)
    return max([matrix.d_in * matrix.d_out, *(other.weights for _, other in facts.matrices() if other.stacked)])


def _hidden_parameters(facts: ModelFacts, workload: Workload) -> int:
    """Trained elements of two-dimensional parameters between embedding and head."""
    if workload.adapter is not None:
        return adapter_parameters(facts, workload.adapter)
    return round(sum(count * matrix.weights for count, matrix in facts.matrices() if not matrix.stacked) * workload.trained_share)


def _projected(facts: ModelFacts, workload: Workload, kind: OptimizerKind, *, per_element: float, size: float) -> float:
    """What a low rank changes of the states (mostly less than 0): those of chosen matrices have the longer side times the rank, and the projection beside."""
    chosen = [(count, matrix) for count, matrix in facts.matrices() if not matrix.stacked and _is_projected(matrix, workload)]
    change = 0.0
    for count, matrix in chosen:
        long, short = max(matrix.d_in, matrix.d_out), min(matrix.d_in, matrix.d_out)
        rank = min(workload.projected_rank, short)
        # In fp32 the singular vectors kept are a view of all of them.
        projection = short * (short if kind.low_rank == "svd" and size == 4 else rank) * size
        change += count * (long * rank * per_element + projection - long * short * per_element)
    return change * workload.trained_share


def _is_projected(matrix: Matrix, workload: Workload) -> bool:
    """Whether a module that the recipe names holds the matrix, by a part of its name or as a pattern of all of it."""
    if workload.projected_modules is None:
        return True
    name = f"model.layers.0.{'self_attn' if matrix.role == 'attention' else 'mlp'}.{matrix.name}"
    return any(module in name or _matches(module, name) for module in workload.projected_modules)


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False
