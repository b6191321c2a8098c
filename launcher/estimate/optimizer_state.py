"""Bytes an optimizer keeps per trained element between steps, and needs on top while it steps."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.estimate.facts import ModelFacts
from launcher.estimate.weights import largest_tensor, trained_bytes_each, trained_parameters
from launcher.estimate.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerKind:
    """`copies` state tensors in the parameters' own format, `extra` fixed bytes per element besides; `temporary` copies of the parameters alive
    during a step, of all of them at once or (`one_tensor`) of the largest alone, in fp32."""

    copies: float = 0.0
    extra: float = 0.0
    temporary: float = 0.0
    one_tensor: float = 0.0
    paged: bool = False


ADAM = OptimizerKind(copies=2)
# torch.optim with foreach holds one intermediate copy of every parameter: measured by others as 10.0 B per bf16 parameter at the step (2+2+4+2).
ADAM_FOREACH = OptimizerKind(copies=2, temporary=1)
# Two 8-bit states, each with an fp32 scale per block of 256 (bitsandbytes functional.py).
ADAM_8BIT = OptimizerKind(extra=2 + 2 * 4 / 256)

KINDS: dict[str, OptimizerKind] = {
    "adamw_torch_fused": ADAM,
    "adamw_torch": ADAM_FOREACH,
    "adamw_hf": ADAM_FOREACH,
    "adamw_anyprecision": ADAM_FOREACH,
    "adamw_apex_fused": ADAM,
    "adamw_bnb_8bit": ADAM_8BIT,
    "adamw_8bit": ADAM_8BIT,
    "paged_adamw": OptimizerKind(extra=8, paged=True),
    "paged_adamw_32bit": OptimizerKind(extra=8, paged=True),
    "paged_adamw_8bit": OptimizerKind(extra=2 + 2 * 4 / 256, paged=True),
    # torchao quantizes states in blocks of 256 (8 bit) and 128 (4 bit).
    "adamw_torch_8bit": OptimizerKind(extra=2 + 2 * 4 / 256, one_tensor=3),
    "adamw_torch_4bit": OptimizerKind(extra=1 + 2 * 4 / 128, one_tensor=3),
    "ademamix": OptimizerKind(extra=12),
    "ademamix_8bit": OptimizerKind(extra=3 + 3 * 4 / 256),
    "paged_ademamix_32bit": OptimizerKind(extra=12, paged=True),
    "paged_ademamix_8bit": OptimizerKind(extra=3 + 3 * 4 / 256, paged=True),
    # Row and column means alone; the update of one tensor is built in fp32.
    "adafactor": OptimizerKind(extra=0.01, one_tensor=2),
    "lion_32bit": OptimizerKind(extra=4),
    "lion_8bit": OptimizerKind(extra=1 + 4 / 256),
    "lion_pytorch": OptimizerKind(copies=1),
    "paged_lion_32bit": OptimizerKind(extra=4, paged=True),
    "paged_lion_8bit": OptimizerKind(extra=1 + 4 / 256, paged=True),
    "sgd": OptimizerKind(temporary=0),
    "adagrad": OptimizerKind(copies=1, temporary=1),
    "rmsprop": OptimizerKind(copies=1, temporary=1),
    "rmsprop_bnb": OptimizerKind(extra=4),
    "rmsprop_bnb_8bit": OptimizerKind(extra=1 + 4 / 256),
    "schedule_free_adamw": OptimizerKind(copies=2, temporary=1),
    "schedule_free_radam": OptimizerKind(copies=2, temporary=1),
    "schedule_free_sgd": OptimizerKind(copies=1, temporary=1),
    # No state: LOMO; row and column means: AdaLomo.
    "lomo": OptimizerKind(one_tensor=1),
    "adalomo": OptimizerKind(extra=0.01, one_tensor=2),
    "muon": OptimizerKind(copies=1, one_tensor=3),
}
KINDS |= {"adamw": ADAM_FOREACH, "rmsprop_32bit": KINDS["rmsprop_bnb"], "rmsprop_8bit": KINDS["rmsprop_bnb_8bit"]}


def kind_of(name: str) -> OptimizerKind:
    """What the optimizer needs; an unknown one counts as AdamW over all tensors at once."""
    return KINDS.get(name, ADAM_FOREACH)


def is_modelled(name: str) -> bool:
    """Whether the table knows the optimizer."""
    return name in KINDS


def state_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the states of all trained elements, whole, that the allocator holds.

    Paged states are managed memory: the allocator never sees them, and they move to the host when the card is full.
    """
    kind = kind_of(workload.optimizer)
    if kind.paged and workload.device == "cuda":
        return 0.0
    return saved_state_bytes(facts, workload)


def saved_state_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the states of all trained elements wherever they live, as a checkpoint holds them."""
    kind = kind_of(workload.optimizer)
    return trained_parameters(facts, workload) * (kind.copies * trained_bytes_each(workload) + kind.extra)


def checkpoint_bytes_of(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of one checkpoint: everything trained, and the optimizer's states."""
    return trained_parameters(facts, workload) * trained_bytes_each(workload) + saved_state_bytes(facts, workload)


def step_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes alive only while the optimizer steps, whole."""
    kind = kind_of(workload.optimizer)
    every = trained_parameters(facts, workload) * trained_bytes_each(workload) * kind.temporary
    largest = largest_tensor(facts, workload)
    if not workload.foreach:
        every = min(every, largest * trained_bytes_each(workload) * kind.temporary)
    return every + largest * 4 * kind.one_tensor
