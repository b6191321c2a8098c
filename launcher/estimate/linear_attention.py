"""Decoders most of whose layers have no attention over all tokens: gated delta rules (Qwen3-Next, Qwen3.5) and short convolutions (LFM2)."""

from __future__ import annotations

from dataclasses import replace

from launcher.estimate.attention_shape import attention
from launcher.estimate.blocks import block_of, model_of
from launcher.estimate.config_keys import Config, flag, head_dim_of, heads_of, hidden_of, kv_heads_of, layers_of
from launcher.estimate.facts import Block, Matrix, ModelFacts
from launcher.estimate.mlp_shape import expert_mlp, gated_mlp


def qwen3_next(c: Config) -> ModelFacts:
    return _delta(c, joined=True)


def qwen3_5(c: Config) -> ModelFacts:
    return _delta(c, joined=False)


def _delta(c: Config, *, joined: bool) -> ModelFacts:
    """Every fourth layer attends, with a gate as wide as its queries; the others are gated delta rules. `joined`: their inputs come from two matrices."""
    hidden = hidden_of(c)
    dim = head_dim_of(c, 256)
    bias = flag(c, "attention_bias")
    projections = attention(hidden, heads=heads_of(c), kv_heads=kv_heads_of(c), head_dim=dim, qkv_bias=bias, o_bias=bias)
    queries = replace(projections[0], d_out=2 * projections[0].d_out)
    mlp, visited = _mlp(c)
    full = block_of(c, (queries, *projections[1:]), mlp, head_norm=2 * dim, head_dim=dim, experts_per_token=visited)
    linear, elements = _delta_matrices(c, joined=joined)
    heads = int(c.get("linear_num_value_heads", 32))
    delta = block_of(
        c,
        linear,
        mlp,
        head_dim=int(c.get("linear_value_head_dim", 128)),
        kv_heads=heads,
        experts_per_token=visited,
        other=elements,
    )
    delta = replace(delta, heads=heads)
    attending = _attending(c)
    return model_of(c, ((attending, full), (layers_of(c) - attending, delta)), tied=False, final_norm=hidden)


def _delta_matrices(c: Config, *, joined: bool) -> tuple[tuple[Matrix, ...], int]:
    """Matrices of a gated delta rule, and the elements of its convolution, decay and norm."""
    hidden = hidden_of(c)
    value_heads, value_dim = int(c.get("linear_num_value_heads", 32)), int(c.get("linear_value_head_dim", 128))
    key = int(c.get("linear_num_key_heads", 16)) * int(c.get("linear_key_head_dim", 128))
    value = value_heads * value_dim
    widths = {"in_proj_qkvz": 2 * key + 2 * value, "in_proj_ba": 2 * value_heads}
    if not joined:
        widths = {"in_proj_qkv": 2 * key + value, "in_proj_z": value, "in_proj_b": value_heads, "in_proj_a": value_heads}
    matrices = tuple(Matrix(name=name, d_in=hidden, d_out=width, role="attention") for name, width in widths.items())
    out = Matrix(name="out_proj", d_in=value, d_out=hidden, role="attention")
    convolution = (2 * key + value) * int(c.get("linear_conv_kernel_dim", 4))
    return (*matrices, out), convolution + 2 * value_heads + value_dim


def _mlp(c: Config) -> tuple[tuple[Matrix, ...], int]:
    """The MLP of a layer and how many routed experts a token visits in it."""
    hidden, experts = hidden_of(c), int(c.get("num_experts") or 0)
    if not experts:
        return gated_mlp(hidden, int(c["intermediate_size"])), 0
    shared = (
        *gated_mlp(hidden, int(c["shared_expert_intermediate_size"])),
        Matrix(name="shared_expert_gate", d_in=hidden, d_out=1, role="router"),
    )
    visited = int(c.get("num_experts_per_tok") or 8)
    return expert_mlp(hidden, int(c["moe_intermediate_size"]), experts, router="gate") + shared, visited


def _attending(c: Config) -> int:
    kinds = c.get("layer_types")
    if isinstance(kinds, list):
        return sum(kind == "full_attention" for kind in kinds[: layers_of(c)])
    return layers_of(c) // int(c.get("full_attention_interval") or 4)


def lfm2(c: Config) -> ModelFacts:
    hidden = hidden_of(c)
    dim = head_dim_of(c)
    matrices = attention(hidden, heads=heads_of(c), kv_heads=kv_heads_of(c), head_dim=dim, out="out_proj")
    bias, kernel = flag(c, "conv_bias"), int(c.get("conv_L_cache", 3))
    convolution = (
        Matrix(name="in_proj", d_in=hidden, d_out=3 * hidden, role="attention", bias=bias),
        Matrix(name="out_proj", d_in=hidden, d_out=hidden, role="attention", bias=bias),
    )
    mlps = _lfm2_mlps(c)
    attends = _lfm2_attends(c)

    def block(attending: bool, mlp: tuple[Matrix, ...]) -> Block:
        visited = int(c.get("num_experts_per_tok") or 4) if any(matrix.role == "expert" for matrix in mlp) else 0
        if attending:
            return block_of(c, matrices, mlp, head_norm=2 * dim, head_dim=dim, experts_per_token=visited)
        return block_of(c, convolution, mlp, head_dim=dim, other=hidden * (kernel + (1 if bias else 0)), experts_per_token=visited)

    kinds: dict[tuple[bool, tuple[Matrix, ...]], int] = {}
    for kind in zip(attends, mlps, strict=True):
        kinds[kind] = kinds.get(kind, 0) + 1
    return model_of(c, tuple((count, block(*kind)) for kind, count in kinds.items()), tied=True, final_norm=hidden)


def _lfm2_attends(c: Config) -> list[bool]:
    kinds = c.get("layer_types")
    if isinstance(kinds, list):
        return [kind == "full_attention" for kind in kinds[: layers_of(c)]]
    chosen = c.get("full_attn_idxs")
    return [chosen is None or layer in chosen for layer in range(layers_of(c))]


def _lfm2_mlps(c: Config) -> list[tuple[Matrix, ...]]:
    hidden, inner, experts = hidden_of(c), int(c["intermediate_size"]), int(c.get("num_experts") or 0)
    if not experts:
        if flag(c, "block_auto_adjust_ff_dim", True):
            inner = int(float(c.get("block_ffn_dim_multiplier") or 1.0) * int(2 * inner / 3))
            multiple = int(c.get("block_multiple_of", 256))
            inner = multiple * -(-inner // multiple)
        return [_w_mlp(hidden, inner)] * layers_of(c)
    first = int(c.get("num_dense_layers", 2))
    sparse = expert_mlp(hidden, int(c["moe_intermediate_size"]), experts, router="gate")
    return [_w_mlp(hidden, inner) if layer < first else sparse for layer in range(layers_of(c))]


def _w_mlp(hidden: int, inner: int) -> tuple[Matrix, ...]:
    return (
        Matrix(name="w1", d_in=hidden, d_out=inner, role="mlp"),
        Matrix(name="w3", d_in=hidden, d_out=inner, role="mlp"),
        Matrix(name="w2", d_in=inner, d_out=hidden, role="mlp"),
    )
