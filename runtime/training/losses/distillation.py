"""Distillation: tokens cost what separates the model's distribution from the teacher's.

Shapes: N supervised tokens, V vocabulary, K candidates of the teacher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from runtime.training.losses.teacher import TeacherTokens


@dataclass(slots=True, kw_only=True)
class Distillation:
    """`hard` times the cross entropy plus `soft` times T² times the divergence from the teacher, both taken at temperature T for the second.

    T² keeps the size of the gradient as T grows (arXiv 1503.02531). The teacher's distribution is that over its own candidates. `normalized` takes
    the model's over the same candidates; otherwise it is the model's over the whole vocabulary. `beta` 0 is the divergence of the model from the
    teacher, KL(teacher ‖ model), 1 the reverse, and between them the generalized Jensen-Shannon divergence (arXiv 2306.13649, eq. 1). A token the
    teacher said nothing of has the first part alone.
    """

    soft: float = 1.0
    hard: float = 0.0
    beta: float = 0.0
    normalized: bool = False
    temperature: float = 1.0
    lowest: float | None = None
    progress: float = 0.0

    @property
    def present(self) -> float:
        """The temperature now: from `temperature` down to `lowest` along half a cosine, by the share of the run that is done."""
        if self.lowest is None:
            return self.temperature
        return self.lowest + (self.temperature - self.lowest) * 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress)))

    def __call__(self, logits_NV: torch.Tensor, target_N: torch.Tensor, teacher: TeacherTokens | None = None) -> torch.Tensor:
        cost_N = self.hard * functional.cross_entropy(logits_NV, target_N, reduction="none") if self.hard else logits_NV.sum(dim=-1) * 0
        if teacher is None or not self.soft:
            return cost_N
        return cost_N + self.soft * self.present**2 * self._divergence(logits_NV, teacher)

    def _divergence(self, logits_NV: torch.Tensor, teacher: TeacherTokens) -> torch.Tensor:
        kept_NK = torch.isfinite(teacher.scores)
        known_N = kept_NK.any(dim=-1)
        # Filled places must not make a gradient that is no number: they get a finite score, and what comes of it is then left out.
        scaled_NV = logits_NV / self.present
        student_NK = scaled_NV.gather(-1, teacher.ids)
        everything_N = (
            torch.logsumexp(student_NK.masked_fill(~kept_NK, -1e30), dim=-1) if self.normalized else torch.logsumexp(scaled_NV, dim=-1)
        )
        log_q_NK = student_NK - torch.where(known_N, everything_N, 0.0)[:, None]
        log_p_NK = functional.log_softmax((teacher.scores.float() / self.present).masked_fill(~kept_NK, -1e30), dim=-1)
        if self.beta == 0:
            parts_NK = log_p_NK.exp() * (log_p_NK - log_q_NK)
        elif self.beta == 1:
            parts_NK = log_q_NK.exp() * (log_q_NK - log_p_NK)
        else:
            log_m_NK = torch.logaddexp(log_p_NK + math.log(self.beta), log_q_NK + math.log1p(-self.beta))
            parts_NK = self.beta * log_p_NK.exp() * (log_p_NK - log_m_NK) + (1 - self.beta) * log_q_NK.exp() * (log_q_NK - log_m_NK)
        return parts_NK.masked_fill(~(kept_NK & known_N[:, None]), 0.0).sum(dim=-1)
