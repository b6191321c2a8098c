"""Rules over more than one option, one module a subject. Each rule is a small function that yields what it finds."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.rules import (
    adapter_starts,
    adapters,
    addresses,
    arguments,
    batches,
    data,
    distribution,
    evaluation,
    exclusives,
    grokfast,
    hub,
    images,
    kernels,
    liger,
    losses,
    measuring,
    naming,
    optimizing,
    plugins,
    precision,
    preference,
    probing,
    rates,
    rewards,
    sharding,
    sharing,
    storing,
    switches,
    tokenizing,
    watching,
)
from runtime.config.schema import TrainingConfig

RULES = (
    *exclusives.RULES,
    *naming.RULES,
    *addresses.RULES,
    *arguments.RULES,
    *data.RULES,
    *batches.RULES,
    *evaluation.RULES,
    *adapters.RULES,
    *optimizing.RULES,
    *precision.RULES,
    *plugins.RULES,
    *liger.RULES,
    *grokfast.RULES,
    *losses.RULES,
    *watching.RULES,
    *tokenizing.RULES,
    *measuring.RULES,
    *adapter_starts.RULES,
    *rates.RULES,
    *kernels.RULES,
    *distribution.RULES,
    *sharding.RULES,
    *sharing.RULES,
    *preference.RULES,
    *rewards.RULES,
    *switches.RULES,
    *storing.RULES,
    *hub.RULES,
    *images.RULES,
    *probing.RULES,
)


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Everything the rules find."""
    for rule in RULES:
        yield from rule(config)
