"""Gemma 3n and Gemma 4: embeddings of every layer, shared keys and values, layers of two widths."""

from __future__ import annotations

from launcher.estimate.blocks import block_of, model_of
from launcher.estimate.config_keys import Config, flag, head_dim_of, heads_of, hidden_of, kv_heads_of, layers_of
from launcher.estimate.facts import Block, Matrix, ModelFacts
from launcher.estimate.mlp_shape import expert_mlp, gated_mlp


def gemma3n(c: Config) -> ModelFacts:
    hidden, layers = hidden_of(c), layers_of(c)
    inner = c.get("intermediate_size", 16384)
    widths = [int(width) for width in inner[:layers]] if isinstance(inner, list) else [int(inner)] * layers
    streams, rank, each = int(c.get("altup_num_inputs", 4)), int(c.get("laurel_rank", 64)), int(c.get("hidden_size_per_layer_input", 256))
    # Alternating updates of the streams: coefficients, router, scale and norm; LAuReL's low-rank pair has a norm of its own.
    altup = streams**3 + streams**2 + streams * hidden + 2 * hidden
    laurel = 2 * hidden * rank + hidden
    dim = head_dim_of(c, 256)
    bias = flag(c, "attention_bias")

    def block(width: int) -> Block:
        matrices = _attention(hidden, heads=heads_of(c), kv_heads=kv_heads_of(c), dim=dim, bias=bias)
        mlp = gated_mlp(hidden, width)
        other = altup + laurel + 2 * hidden * each + hidden
        return block_of(c, matrices, mlp, norms=4, fp32_normed=True, head_norm=2 * dim, head_dim=dim, other=other)

    blocks = tuple((widths.count(width), block(width)) for width in sorted(set(widths)))
    return model_of(c, blocks, tied=True, final_norm=hidden, extra=_per_layer_embeddings(c, each) + 2 * (streams - 1) * hidden**2)


def gemma4(c: Config) -> ModelFacts:
    hidden, layers = hidden_of(c), layers_of(c)
    each = int(c.get("hidden_size_per_layer_input") or 0)
    kinds = c.get("layer_types")
    full = [kind == "full_attention" for kind in kinds[:layers]] if isinstance(kinds, list) else [(n + 1) % 6 == 0 for n in range(layers)]
    full[-1] = True
    first_shared = layers - int(c.get("num_kv_shared_layers") or 0)
    counts: dict[tuple[bool, bool], int] = {}
    for layer, attends in enumerate(full):
        kind = (attends, layer >= first_shared)
        counts[kind] = counts.get(kind, 0) + 1
    blocks = tuple((count, _gemma4_block(c, full=attends, shared=shared, each=each)) for (attends, shared), count in counts.items())
    return model_of(c, blocks, tied=True, final_norm=hidden, extra=_per_layer_embeddings(c, each) if each else 0)


def _gemma4_block(c: Config, *, full: bool, shared: bool, each: int) -> Block:
    """A layer; `full` ones have wider heads and may use their keys as values, `shared` ones take keys and values from an earlier layer."""
    hidden = hidden_of(c)
    dim, kv = head_dim_of(c, 256), kv_heads_of(c)
    one = flag(c, "attention_k_eq_v") and full
    if full:
        dim = int(c.get("global_head_dim") or 512)
        kv = int(c.get("num_global_key_value_heads") or kv) if flag(c, "attention_k_eq_v", True) else kv
        for layer in (c.get("per_layer_config") or {}).values():
            dim, kv = int(layer.get("head_dim") or dim), int(layer.get("num_key_value_heads") or kv)
    matrices = _attention(hidden, heads=heads_of(c), kv_heads=kv, dim=dim, bias=flag(c, "attention_bias"))
    if shared:
        matrices = (matrices[0], matrices[3])
    elif one:
        matrices = (matrices[0], matrices[1], matrices[3])
    width = int(c["intermediate_size"]) * (2 if shared and flag(c, "use_double_wide_mlp") else 1)
    mlp, other, experts = gated_mlp(hidden, width), 0, int(c.get("num_experts") or 0) if flag(c, "enable_moe_block") else 0
    if experts:
        mlp += expert_mlp(hidden, int(c["moe_intermediate_size"]), experts)
        # The router's scales, and three further norms.
        other += hidden + experts + 3 * hidden
    if each:
        other += 2 * hidden * each + hidden
    return block_of(
        c,
        matrices,
        mlp,
        norms=4,
        fp32_normed=True,
        head_norm=dim if shared else 2 * dim,
        head_dim=dim,
        kv_heads=kv,
        other=other,
        experts_per_token=int(c.get("top_k_experts") or 0) if experts else 0,
    )


def _attention(hidden: int, *, heads: int, kv_heads: int, dim: int, bias: bool) -> tuple[Matrix, ...]:
    return (
        Matrix(name="q_proj", d_in=hidden, d_out=heads * dim, role="attention", bias=bias),
        Matrix(name="k_proj", d_in=hidden, d_out=kv_heads * dim, role="attention", bias=bias),
        Matrix(name="v_proj", d_in=hidden, d_out=kv_heads * dim, role="attention", bias=bias),
        Matrix(name="o_proj", d_in=heads * dim, d_out=hidden, role="attention", bias=bias),
    )


def _per_layer_embeddings(c: Config, each: int) -> int:
    """Elements of the embedding with `each` values for every layer, of the projection of the stream to as many, and of its norm."""
    vocab = int(c.get("vocab_size_per_layer_input") or 262_144)
    return (vocab + hidden_of(c)) * layers_of(c) * each + each
