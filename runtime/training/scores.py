"""Scores of written answers against what the data expect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from runtime.training.answers import Answer

# What `eval_causal_lm_metrics` means when it is not written.
DEFAULT = ("sacrebleu", "ter", "chrf", "perplexity")
_OF_SACREBLEU = {"sacrebleu": "BLEU", "ter": "TER", "chrf": "CHRF"}


@dataclass(frozen=True, slots=True)
class Scores:
    """Computes the scores named: BLEU, TER and chrF over the whole set as sacreBLEU defines them (0 to 100), and the perplexity of what was expected."""

    names: tuple[str, ...]

    @classmethod
    def of(cls, config: Any) -> Scores:
        """The recipe's. Raises UserError when the package they come from is not installed."""
        names = tuple(dict.fromkeys(config.eval_causal_lm_metrics or DEFAULT))
        if any(name in _OF_SACREBLEU for name in names) and find_spec("sacrebleu") is None:
            raise UserError(
                Problem(
                    code="unsupported",
                    path="eval_causal_lm_metrics",
                    message="sacrebleu, ter and chrf come from the package sacrebleu, which is not installed here",
                    fix="pip install sacrebleu, or `eval_causal_lm_metrics: [perplexity]`",
                )
            )
        return cls(names)

    def of_answers(self, answers: Sequence[Answer], *, loss: float | None) -> dict[str, float]:
        """Each score by its name. `loss` is that of the evaluation, nats a token; no answers, or no loss, leave out what depends on them."""
        found: dict[str, float] = {}
        for name in self.names:
            if name in _OF_SACREBLEU and answers:
                from sacrebleu import metrics

                metric = getattr(metrics, _OF_SACREBLEU[name])()
                expected = [[answer.expected for answer in answers]]
                found[name] = float(metric.corpus_score([answer.answer for answer in answers], expected).score)
            elif name == "perplexity" and loss is not None:
                found[name] = math.exp(min(loss, 700.0))
        return found
