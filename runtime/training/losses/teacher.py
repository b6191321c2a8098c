"""What a teacher said of the tokens of a batch: for each token, its likeliest candidates and how likely they were.

Shapes: N supervised tokens, B rows, L positions, K candidates.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from runtime.data.tokens import TEACHER_IDS, TEACHER_SCORES

TEACHER_COLUMNS = (TEACHER_IDS, TEACHER_SCORES)


@dataclass(frozen=True, slots=True)
class TeacherTokens:
    """Candidates of tokens, and their scores: log probabilities at temperature 1, up to a constant of the token; -inf fills up.

    A token whose scores are all -inf is one the teacher said nothing of.
    """

    ids: torch.Tensor
    scores: torch.Tensor

    def of(self, part: slice | torch.Tensor) -> TeacherTokens:
        """Those of some tokens, by a slice or a mask."""
        return TeacherTokens(self.ids[part], self.scores[part])

    def shifted(self) -> TeacherTokens:
        """Of (B, L, K): what was said of a token, at the position that predicts it."""
        return TeacherTokens(
            functional.pad(self.ids, (0, 0, 0, 1))[:, 1:], functional.pad(self.scores, (0, 0, 0, 1), value=float("-inf"))[:, 1:]
        )


def taken_from(inputs: MutableMapping[str, Any]) -> TeacherTokens | None:
    """The teacher's part of a batch, (B, L, K), which is removed from it; None for a batch without."""
    ids, scores = inputs.pop(TEACHER_IDS, None), inputs.pop(TEACHER_SCORES, None)
    return None if ids is None else TeacherTokens(ids.long(), scores)
