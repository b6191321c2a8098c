"""The cost of many tokens, with the logits of a few of them at a time.

Shapes: N supervised tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from runtime.training.losses.deferred import DeferredLogits

if TYPE_CHECKING:
    from runtime.training.losses.teacher import TeacherTokens
    from runtime.training.losses.tokens import TokenCost


def cost_in_parts(
    logits: DeferredLogits,
    hidden_ND: torch.Tensor,
    target_N: torch.Tensor,
    cost: TokenCost,
    *,
    parts: int,
    teacher: TeacherTokens | None = None,
) -> torch.Tensor:
    """The sum of the costs of N tokens. The logits of N / `parts` of them exist at once, and again when gradients are computed.

    The gradient is that of all logits at once, added up in another order. Zero, with a gradient of zeros, when there is no token.
    """
    total = hidden_ND.new_zeros((), dtype=torch.float32)
    size = max(1, -(-len(target_N) // parts))
    # A part without tokens still reaches every parameter: processes that share gradients wait for all of them.
    for start in range(0, max(1, len(target_N)), size):
        part = slice(start, start + size)
        said = None if teacher is None else teacher.of(part)

        def summed(hidden_ND: torch.Tensor, target_N: torch.Tensor = target_N[part], said: TeacherTokens | None = said) -> torch.Tensor:
            return cost(logits.computed(hidden_ND).float(), target_N, said).sum()

        if torch.is_grad_enabled():
            total = total + checkpoint(summed, hidden_ND[part], use_reentrant=False)
        else:
            total = total + summed(hidden_ND[part])
    return total
