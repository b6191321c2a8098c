"""What one predicted token costs.

Shapes: N supervised tokens, V vocabulary. Logits are float32. A cost is not reduced: who calls it adds up and divides.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from runtime.training.losses.teacher import TeacherTokens


class TokenCost(Protocol):
    """Costs of N tokens from their logits and their true ids; `teacher` is what another model said of the same tokens, if the run has one."""

    def __call__(self, logits_NV: torch.Tensor, target_N: torch.Tensor, teacher: TeacherTokens | None = None) -> torch.Tensor: ...


def cross_entropy(logits_NV: torch.Tensor, target_N: torch.Tensor, teacher: TeacherTokens | None = None) -> torch.Tensor:  # noqa: ARG001
    """The negative log probability of each token."""
    return functional.cross_entropy(logits_NV, target_N, reduction="none")


def dynamic(logits_NV: torch.Tensor, target_N: torch.Tensor, teacher: TeacherTokens | None = None) -> torch.Tensor:  # noqa: ARG001
    """Dynamic fine-tuning: the cross entropy of each token times the model's own probability for it, held constant (arXiv 2508.05629, eq. 9)."""
    cost_N = functional.cross_entropy(logits_NV, target_N, reduction="none")
    return cost_N * torch.exp(-cost_N.detach())


class EntropyAdaptive:
    """Entropy-adaptive fine-tuning: the cross entropy times the entropy over the `k` likeliest tokens, as a share of ln k, to the power `alpha`.

    The weight is held constant (arXiv 2601.02151: k = 20, alpha = 1).
    """

    def __init__(self, *, k: int = 20, alpha: float = 1.0) -> None:
        self.k = k
        self.alpha = alpha

    def __call__(self, logits_NV: torch.Tensor, target_N: torch.Tensor, teacher: TeacherTokens | None = None) -> torch.Tensor:  # noqa: ARG002
        k = min(self.k, logits_NV.shape[-1])
        best_NK = functional.log_softmax(logits_NV.detach().topk(k, dim=-1).values, dim=-1)
        entropy_N = -(best_NK.exp() * best_NK).sum(dim=-1)
        weight_N = (entropy_N / math.log(k)).clamp(0.0, 1.0) ** self.alpha
        return functional.cross_entropy(logits_NV, target_N, reduction="none") * weight_N
