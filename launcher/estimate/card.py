"""From live tensors to what a card must hold: the allocator's slack, the CUDA context, the collectives' buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["fits", "tight", "does-not-fit"]

# Reserved over allocated with expandable segments. Public T4 series: 1.04 to 1.49 without them, median 1.13; rows of one length stay near the low end.
SLACK_ONE_LENGTH = (1.03, 1.08, 1.20)
SLACK_VARYING_LENGTH = (1.05, 1.12, 1.35)

# GiB of the CUDA context with its loaded kernels: 141 MiB on a T4 by public measurement, 0.4 to 0.6 GiB on A100 and H100.
CONTEXT_SMALL = (0.14, 0.25, 0.40)
CONTEXT_LARGE = (0.40, 0.50, 0.65)

# GiB of NCCL's channels and buffers where more than one GPU works together.
NCCL = (0.2, 0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnCard:
    """GiB one card must hold: expected, at least, at most; and the share of the context and the collectives in the expected figure."""

    value: float
    low: float
    high: float
    context_gib: float


def on_card(tensors_gib: float, *, gpus: int, packed: bool, capability: float | None, error: tuple[float, float] = (0.97, 1.05)) -> OnCard:
    """What a card must hold for a peak of `tensors_gib`.

    `packed` says that all rows have one length, which keeps the allocator tidy; `error` is the spread of the tensors' estimate itself.
    """
    low, mid, high = SLACK_ONE_LENGTH if packed else SLACK_VARYING_LENGTH
    context = CONTEXT_LARGE if capability is None or capability >= 8 else CONTEXT_SMALL
    nccl = NCCL if gpus > 1 else (0.0, 0.0, 0.0)
    return OnCard(
        value=tensors_gib * mid + context[1] + nccl[1],
        low=tensors_gib * error[0] * low + context[0] + nccl[0],
        high=tensors_gib * error[1] * high + context[2] + nccl[2],
        context_gib=context[1] + nccl[1],
    )


def in_ram(tensors_gib: float, *, weights_gib: float, processes: int = 1) -> OnCard:
    """What a machine without a GPU must hold: all processes' tensors, malloc's slack, the interpreters with their libraries, and weights being read.

    A training process of torch, transformers and datasets takes 0.7 to 1.1 GiB before its first tensor (resident set, CPU build of torch 2.13).
    """
    process = [each * processes for each in (0.7, 0.9, 1.2)]
    return OnCard(
        value=tensors_gib * 1.15 + process[1],
        low=tensors_gib * 0.95 + process[0],
        high=tensors_gib * 1.5 + process[2] + 0.25 * weights_gib * processes,
        context_gib=process[1],
    )


def verdict_of(card: OnCard, capacity_gib: float) -> Verdict:
    """Fits when even the high end does, tight when only the expected value does."""
    if card.high <= capacity_gib:
        return "fits"
    return "tight" if card.value <= capacity_gib else "does-not-fit"
