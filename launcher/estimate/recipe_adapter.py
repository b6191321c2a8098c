"""The adapter that a recipe trains, with the rank each matrix gets on average over the layers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from launcher.estimate.facts import ModelFacts
from launcher.estimate.trained_share import layer_matrices
from launcher.estimate.workload import Adapter

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


def adapter_of(config: TrainingConfig, facts: ModelFacts) -> Adapter | None:
    """The adapter of the recipe; None where it names none."""
    if not config.adapter:
        return None
    named = config.lora_target_modules
    targets: tuple[str, ...] | None
    if config.lora_target_linear or named in ("linear", "all-linear") or (named is None and not config.lora_target_parameters):
        targets = None
    else:
        targets = _matching(named, facts) if isinstance(named, str) else tuple(named or ())
    rank = int(config.lora_r or 8)
    return Adapter(
        rank=rank,
        ranks=_ranks(config, facts, rank),
        targets=targets,
        stacks=_last_names(config.lora_target_parameters),
        dropout=float(config.lora_dropout or 0.0),
        parameter_bytes=4 if config.peft_autocast_adapter_dtype is not False else 2,
        magnitude=bool(config.peft_use_dora),
        saved_modules=tuple(config.lora_modules_to_save or ()),
        tokens=_tokens(config.peft_trainable_token_indices),
    )


def _matching(pattern: str, facts: ModelFacts) -> tuple[str, ...] | None:
    """Names of the matrices that a pattern of whole module names ends in; None, every linear layer, where its end cannot be told."""
    try:
        end = re.compile(pattern.rpartition(".")[2])
    except re.error:
        return None
    return tuple(sorted({matrix.name for _, matrix in facts.matrices() if end.fullmatch(matrix.name)})) or None


def _last_names(named: str | list[str] | None) -> tuple[str, ...]:
    names = [named] if isinstance(named, str) else named or []
    return tuple(name.rsplit(".", 1)[-1] for name in names)


def _tokens(named: list[int] | dict[str, list[int]] | None) -> int:
    """Rows of embeddings that train by themselves."""
    if isinstance(named, dict):
        return sum(len(indices) for indices in named.values())
    return len(named or ())


def _ranks(config: TrainingConfig, facts: ModelFacts, rank: int) -> tuple[tuple[str, float], ...]:
    """Mean rank over all layers of every matrix whose rank is not the same everywhere, by its name: `lora_rank_pattern` gives some another rank (PEFT matches
    the end of a module's name), `peft_layers_to_transform` leaves layers out."""
    patterns = [(found, int(size)) for pattern, size in (config.lora_rank_pattern or {}).items() if (found := _compiled(pattern))]
    chosen = config.peft_layers_to_transform
    layers = None if chosen is None else set(chosen)
    if not patterns and layers is None:
        return ()
    sums: dict[str, list[float]] = {}
    for number, path, name in layer_matrices(facts):
        here = rank if layers is None or number in layers else 0
        if here:
            here = next((size for pattern, size in patterns if pattern.fullmatch(path)), rank)
        sums.setdefault(name, []).append(float(here))
    return tuple((name, sum(ranks) / len(ranks)) for name, ranks in sums.items())


def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(rf"(?:.*\.)?(?:{pattern})")
    except re.error:
        return None
