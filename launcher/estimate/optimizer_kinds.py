"""What each optimizer keeps for an element between steps and needs while it steps, by the optimizer's name.

Counted on the live tensors of each optimizer's own steps over fp32 and bf16 matrices, second step onwards (torch 2.13, transformers 5.23, torch-optimi 0.3.3,
came-pytorch 0.1.3, pytorch-optimizer 4.1, lion-pytorch 0.2.5, schedulefree 1.4.1, galore-torch 1.0, apollo-torch 1.0.3; 2026-11-22); bitsandbytes 0.50 and
torchao 0.18 by the formats their sources name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerKind:
    """States per trained element, and what is alive on top during a step."""

    copies: int = 0
    """State tensors in the parameters' own format."""
    compensation: int = 0
    """Further ones where parameters are 16-bit: Kahan summation's remainder."""
    extra: float = 0.0
    """Bytes of states in a format of their own."""
    embedding_extra: float | None = None
    """The same of an embedding, which transformers exempts from bitsandbytes' 8-bit states; None for no difference."""
    together: int = 0
    """Copies of all parameters alive at once during a step, in their own format, where the step takes all tensors together."""
    alone: int = 0
    """The same where it takes one tensor after the other: of these copies, the last belongs to the tensor before."""
    wide: int = 0
    """Tensors in fp32 alive while one tensor is updated, the last of them the tensor before's."""
    widened: int = 0
    """Further ones where parameters are 16-bit."""
    takes: Literal["foreach", "together", "alone", "kernel"] = "alone"
    """How a step goes through the tensors: together on a GPU and one by one on a CPU, together everywhere, one by one everywhere, or by a fused kernel on a
    GPU that needs nothing and one by one on a CPU."""
    hidden_only: bool = False
    """Muon: one state for the matrices between embedding and head, whose update is made orthogonal in 16 bit; AdamW's two for everything else."""
    low_rank: Literal["", "svd", "random"] = ""
    """Gradients of chosen matrices are projected to a low rank, by their singular vectors or at random; states have that rank's size."""
    paged: bool = False
    """States are managed memory, which torch's allocator does not see and the driver moves to the host when the card is full."""


def _blocks(states: float, bits: int, block: int) -> float:
    """Bytes of quantized states with an fp32 scale for each block of elements."""
    return states * (bits / 8 + 4 / block)


# torch.optim with foreach holds one intermediate copy of every parameter: measured by others as 10.0 B per bf16 parameter at the step (2+2+4+2).
ADAM = OptimizerKind(copies=2, together=1, alone=3, takes="foreach")
FUSED_ADAM = OptimizerKind(copies=2)
# States in 8 bit with an fp32 scale per block of 256 (bitsandbytes functional.py).
_ADAM_8BIT = OptimizerKind(extra=_blocks(2, 8, 256), embedding_extra=8)
_ADEMAMIX_8BIT = OptimizerKind(extra=_blocks(3, 8, 256), embedding_extra=12)
_LION_8BIT = OptimizerKind(extra=_blocks(1, 8, 256), embedding_extra=4)
_ADAM_32BIT, _ADEMAMIX_32BIT, _LION_32BIT = (OptimizerKind(extra=states) for states in (8, 12, 4))
# torchao quantizes in blocks of 256 (8 bit, fp8) and 128 (4 bit).
_AO_8BIT, _AO_4BIT = OptimizerKind(extra=_blocks(2, 8, 256), wide=3), OptimizerKind(extra=_blocks(2, 4, 128), wide=3)
_GALORE = OptimizerKind(copies=2, alone=3, low_rank="svd")
_GALORE_ADAFACTOR = OptimizerKind(extra=0.01, alone=3, wide=1, low_rank="svd")
_APOLLO = OptimizerKind(copies=2, alone=3, low_rank="random")

KINDS: dict[str, OptimizerKind] = {
    "adamw": ADAM,
    "adamw_torch": ADAM,
    "adamw_hf": ADAM,
    "adamw_torch_fused": FUSED_ADAM,
    "adamw_apex_fused": FUSED_ADAM,
    "adamw_torch_xla": FUSED_ADAM,
    "adamw_torch_npu_fused": FUSED_ADAM,
    # transformers asks for fp32 states.
    "adamw_anyprecision": OptimizerKind(extra=8, alone=3),
    "adamw_bnb_8bit": _ADAM_8BIT,
    "adamw_8bit": _ADAM_8BIT,
    # Outside of transformers nothing exempts embeddings.
    "bitsandbytes' own adamw_8bit": replace(_ADAM_8BIT, embedding_extra=None),
    "paged_adamw": replace(_ADAM_32BIT, paged=True),
    "paged_adamw_32bit": replace(_ADAM_32BIT, paged=True),
    "paged_adamw_8bit": replace(_ADAM_8BIT, paged=True),
    "adamw_torch_8bit": _AO_8BIT,
    "adamw_torch_4bit": _AO_4BIT,
    "ao_adamw_8bit": _AO_8BIT,
    "ao_adamw_4bit": _AO_4BIT,
    "ao_adamw_fp8": _AO_8BIT,
    "ademamix": _ADEMAMIX_32BIT,
    "ademamix_8bit": _ADEMAMIX_8BIT,
    "paged_ademamix_32bit": replace(_ADEMAMIX_32BIT, paged=True),
    "paged_ademamix_8bit": replace(_ADEMAMIX_8BIT, paged=True),
    # Row and column means alone; the update of one tensor is built in fp32.
    "adafactor": OptimizerKind(extra=0.01, wide=3, widened=2),
    "came_pytorch": OptimizerKind(extra=4.02, wide=5, widened=1),
    "lion_32bit": _LION_32BIT,
    "lion_8bit": _LION_8BIT,
    "lion_pytorch": OptimizerKind(copies=1, alone=2),
    "paged_lion_32bit": replace(_LION_32BIT, paged=True),
    "paged_lion_8bit": replace(_LION_8BIT, paged=True),
    "optimi_adamw": OptimizerKind(copies=2, compensation=1, alone=1, takes="kernel"),
    "stable_adamw": OptimizerKind(copies=2, compensation=1, alone=2, takes="kernel"),
    "adopt_adamw": OptimizerKind(copies=2, together=2, takes="together"),
    "sgd": OptimizerKind(),
    "sgd with momentum": OptimizerKind(copies=1),
    "adagrad": OptimizerKind(copies=1, together=2, alone=2, takes="foreach"),
    "rmsprop": OptimizerKind(copies=1, together=1, alone=2, takes="foreach"),
    "rmsprop_bnb": _LION_32BIT,
    "rmsprop_bnb_32bit": _LION_32BIT,
    "rmsprop_bnb_8bit": _LION_8BIT,
    "schedule_free_adamw": OptimizerKind(copies=2, together=1, takes="together"),
    "schedule_free_radam": OptimizerKind(copies=2, together=1, takes="together"),
    "schedule_free_sgd": OptimizerKind(copies=1),
    "galore_adamw": _GALORE,
    "galore_adamw_8bit": OptimizerKind(extra=_blocks(2, 8, 256), embedding_extra=8, alone=3, low_rank="svd"),
    "galore_adafactor": _GALORE_ADAFACTOR,
    "apollo_adamw": _APOLLO,
    # No state: LOMO; row and column means: AdaLomo.
    "lomo": OptimizerKind(wide=1),
    "adalomo": OptimizerKind(extra=0.01, wide=2),
    "muon": OptimizerKind(copies=1, hidden_only=True),
}


def kind_of(name: str) -> OptimizerKind:
    """What the optimizer needs; an unknown one counts as AdamW over all tensors at once."""
    return KINDS.get(name.removesuffix("_layerwise"), ADAM)


def is_modelled(name: str) -> bool:
    """Whether the table knows the optimizer."""
    return name.removesuffix("_layerwise") in KINDS
