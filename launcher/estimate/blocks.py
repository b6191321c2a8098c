"""A block from its matrices and norms, and a model from its blocks."""

from __future__ import annotations

from launcher.estimate.config_keys import Config, head_dim_of, heads_of, hidden_of, kv_heads_of, window_of
from launcher.estimate.facts import Block, Matrix, ModelFacts

WRITTEN_OUT = ("gelu_new", "gelu_fast")
"""Activations transformers computes operation by operation."""


def model_of(
    config: Config,
    blocks: tuple[tuple[int, Block], ...],
    *,
    tied: bool,
    final_norm: int,
    positions: int = 0,
    extra: int = 0,
    embedding_width: int | None = None,
) -> ModelFacts:
    """A model from its kinds of layers; `positions` learned positions, `extra` further elements outside them."""
    hidden = hidden_of(config)
    return ModelFacts(
        name="",
        model_type=str(config.get("model_type", "")),
        hidden=hidden,
        vocab=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", tied)),
        blocks=tuple((count, block) for count, block in blocks if count),
        other_parameters=final_norm + positions * hidden + extra,
        max_positions=int(config.get("max_position_embeddings") or config.get("n_positions") or 0),
        embedding_width=embedding_width,
    )


def block_of(
    config: Config,
    attention_matrices: tuple[Matrix, ...],
    mlp_matrices: tuple[Matrix, ...],
    *,
    norms: int = 2,
    norm_bias: bool = False,
    norm_weight: bool = True,
    head_norm: int = 0,
    head_dim: int | None = None,
    kv_heads: int | None = None,
    value_dim: int | None = None,
    gated: bool = True,
    activation: str = "",
    fp32_norm: bool = True,
    fp32_normed: bool = False,
    other: int = 0,
    experts_per_token: int = 0,
    attention_dropout: bool = False,
    residual_dropouts: int = 0,
    shared_heads: bool = False,
    fused_heads: bool = False,
) -> Block:
    """A block from its matrices; `head_norm` is the elements of norms over queries and keys."""
    dim = head_dim or head_dim_of(config)
    per_norm = hidden_of(config) * ((1 if norm_weight else 0) + (1 if norm_bias else 0))
    return Block(
        matrices=attention_matrices + mlp_matrices,
        heads=heads_of(config),
        kv_heads=kv_heads or kv_heads_of(config),
        head_dim=dim,
        value_dim=value_dim or dim,
        norms=norms,
        norm_parameters=norms * per_norm + head_norm,
        gated=gated,
        activation_copies=4 if str(config.get("hidden_act") or config.get("activation_function") or activation) in WRITTEN_OUT else 1,
        fp32_norm=fp32_norm,
        fp32_normed=fp32_normed,
        head_norms=head_norm > 0,
        other_parameters=other,
        experts_per_token=experts_per_token,
        attention_dropout=attention_dropout,
        residual_dropouts=residual_dropouts,
        shared_heads=shared_heads,
        fused_heads=fused_heads,
        window=window_of(config),
    )
