"""Rules over more than one option, one module a subject. Each rule is a small function that yields what it finds."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.rules import adapters, batches, data, evaluation, exclusives, naming, optimizing, precision
from runtime.config.schema import TrainingConfig

RULES = (
    *exclusives.RULES,
    *naming.RULES,
    *data.RULES,
    *batches.RULES,
    *evaluation.RULES,
    *adapters.RULES,
    *optimizing.RULES,
    *precision.RULES,
)


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Everything the rules find."""
    for rule in RULES:
        yield from rule(config)
