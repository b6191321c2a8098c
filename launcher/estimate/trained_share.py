"""Which share of a model trains where no adapter is used: everything, named parameters, or some layers at a time; and the names of its matrices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.estimate.facts import Block, Matrix, ModelFacts

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

# Modules of a layer by the matrix's role, under the names most decoders of transformers use.
_PARTS = {"attention": "self_attn", "mlp": "mlp", "expert": "mlp.experts", "router": "mlp", "shared": "mlp.shared_expert"}


def trained_share(config: TrainingConfig, facts: ModelFacts) -> float:
    """Elements that get gradients over all elements, at most 1. Patterns that match nothing known here count as everything: rather too much than too little."""
    share, outside = 1.0, facts.parameters - facts.block_parameters
    if config.unfrozen_parameters:
        share = _named(facts, config.unfrozen_parameters) or 1.0
    if config.spectrum_top_fraction:
        # The chosen matrices of every layer's kinds, with embeddings and head.
        share = min(share, (outside + config.spectrum_top_fraction * facts.block_parameters) / facts.parameters)
    if config.lisa_n_layers:
        layers = min(int(config.lisa_n_layers), facts.layers)
        share = min(share, (outside + layers / facts.layers * facts.block_parameters) / facts.parameters)
    return share


def passive_layers(config: TrainingConfig, facts: ModelFacts) -> int:
    """Layers before the first one with a trained parameter, where the embedding is frozen too: no backward pass reaches them."""
    if not config.unfrozen_parameters:
        return 0
    patterns = [
        re.compile(pattern.rpartition("[")[0] if _rows(pattern) else pattern) for pattern in config.unfrozen_parameters if _sound(pattern)
    ]
    trained = [name for name, _, _ in _parameters(facts) if any(pattern.match(name) for pattern in patterns)]
    if not trained or "model.embed_tokens.weight" in trained:
        return 0
    numbers = [int(found[1]) for name in trained if (found := re.search(r"layers\.(\d+)\.", name))]
    if not numbers:
        # The head alone; where it is tied, patterns name the embedding.
        return facts.layers
    return min(numbers)


def layer_matrices(facts: ModelFacts) -> Iterator[tuple[int, str, str]]:
    """(number of the layer, path of the module, name) of every matrix of every layer."""
    number = 0
    for count, block in facts.blocks:
        for _ in range(count):
            for matrix in block.matrices:
                yield number, _path(number, matrix), matrix.name
            number += 1


def _named(facts: ModelFacts, patterns: list[str]) -> float:
    """Share of the elements whose name matches a pattern from its start; a range of rows counts its rows."""
    read = [
        (re.compile(pattern.rpartition("[")[0] if _rows(pattern) else pattern), _rows(pattern)) for pattern in patterns if _sound(pattern)
    ]
    taken = 0.0
    for name, size, rows in _parameters(facts):
        shares = [1.0 if part is None else min(1.0, part / rows) for pattern, part in read if pattern.match(name)]
        taken += size * max(shares, default=0.0)
    return taken / facts.parameters


def _rows(pattern: str) -> int | None:
    """Rows that a pattern's range names, `…weight[100:200]`; None without one."""
    found = re.search(r"\[(\d*):(\d*)\]$", pattern)
    if found is None:
        return None
    return max(0, int(found[2] or 10**9) - int(found[1] or 0))


def _sound(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _parameters(facts: ModelFacts) -> Iterator[tuple[str, float, int]]:
    """Name, elements and rows of every large parameter, layers numbered from 0 in the order of their kinds."""
    yield "model.embed_tokens.weight", facts.embedding_parameters, facts.vocab
    if facts.head_parameters:
        yield "lm_head.weight", facts.head_parameters, facts.vocab
    number = 0
    for count, block in facts.blocks:
        for _ in range(count):
            yield from _of_layer(number, block)
            number += 1


def _of_layer(number: int, block: Block) -> Iterator[tuple[str, float, int]]:
    for matrix in block.matrices:
        yield f"{_path(number, matrix)}.weight", matrix.parameters, matrix.d_out
    yield f"model.layers.{number}.input_layernorm.weight", block.norm_parameters, 1


def _path(number: int, matrix: Matrix) -> str:
    return f"model.layers.{number}.{_PARTS.get(matrix.role, matrix.role)}.{matrix.name}"
