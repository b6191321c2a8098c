"""Mixtures of experts, and multi-head latent attention."""

from __future__ import annotations

from launcher.estimate.attention_shape import attention
from launcher.estimate.blocks import block_of, model_of
from launcher.estimate.config_keys import Config, flag, head_dim_of, heads_of, hidden_of, kv_heads_of, layers_of
from launcher.estimate.facts import Block, Matrix, ModelFacts
from launcher.estimate.mlp_shape import expert_mlp, gated_mlp


def mixtral(c: Config) -> ModelFacts:
    experts = expert_mlp(hidden_of(c), int(c["intermediate_size"]), int(c.get("num_local_experts", 8)))
    return mixture(c, attention_bias=False, sparse=experts, per_token=int(c.get("num_experts_per_tok", 2)))


def mixture(
    c: Config,
    *,
    sparse: tuple[Matrix, ...],
    per_token: int,
    attention_bias: bool,
    o_bias: bool = False,
    dense: tuple[Matrix, ...] = (),
    dense_layers: int = 0,
    head_norm: str = "",
    head_dim: int | None = None,
    other: int = 0,
    other_sparse: int = 0,
    norm_bias: bool = False,
    tied: bool = False,
) -> ModelFacts:
    """A mixture of experts with Llama-like attention; `dense_layers` layers have the plain MLP `dense`. `other` elements are in each layer besides,
    `other_sparse` in each one with experts."""
    hidden, heads, kv = hidden_of(c), heads_of(c), kv_heads_of(c)
    dim = head_dim_of(c, head_dim)
    widths = {"": 0, "head": 2 * dim, "full": (heads + kv) * dim}[head_norm]
    matrices = attention(hidden, heads=heads, kv_heads=kv, head_dim=dim, qkv_bias=attention_bias, o_bias=o_bias)
    fp32_norm = not norm_bias

    def block(mlp: tuple[Matrix, ...], beside: int, visited: int) -> Block:
        return block_of(
            c,
            matrices,
            mlp,
            head_norm=widths,
            head_dim=dim,
            experts_per_token=visited,
            other=beside,
            norm_bias=norm_bias,
            fp32_norm=fp32_norm,
        )

    blocks = [(layers_of(c) - dense_layers, block(sparse, other + other_sparse, per_token)), (dense_layers, block(dense, other, 0))]
    return model_of(c, tuple(blocks), tied=tied, final_norm=hidden * (2 if norm_bias else 1))


def _dense_layers(c: Config) -> int:
    """How many layers of a Qwen mixture have a plain MLP."""
    step = int(c.get("decoder_sparse_step") or 1)
    plain = set(c.get("mlp_only_layers") or ())
    return sum(layer in plain or (layer + 1) % step != 0 for layer in range(layers_of(c)))


def qwen2_moe(c: Config) -> ModelFacts:
    hidden, shared = hidden_of(c), int(c["shared_expert_intermediate_size"])
    sparse = (
        *expert_mlp(hidden, int(c["moe_intermediate_size"]), int(c["num_experts"])),
        *gated_mlp(hidden, shared),
        Matrix(name="shared_expert_gate", d_in=hidden, d_out=1, role="router"),
    )
    return mixture(
        c,
        attention_bias=flag(c, "qkv_bias", True),
        sparse=sparse,
        per_token=int(c.get("num_experts_per_tok", 4)),
        dense=gated_mlp(hidden, int(c["intermediate_size"])),
        dense_layers=_dense_layers(c),
    )


def qwen3_moe(c: Config) -> ModelFacts:
    hidden = hidden_of(c)
    bias = flag(c, "attention_bias")
    return mixture(
        c,
        attention_bias=bias,
        o_bias=bias,
        sparse=expert_mlp(hidden, int(c["moe_intermediate_size"]), int(c.get("num_experts") or c["num_local_experts"])),
        per_token=int(c.get("num_experts_per_tok", 8)),
        dense=gated_mlp(hidden, int(c.get("intermediate_size", 6144))),
        dense_layers=_dense_layers(c),
        head_norm="head",
    )


def olmoe(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    experts = expert_mlp(hidden_of(c), int(c["intermediate_size"]), int(c.get("num_experts", 64)))
    return mixture(c, attention_bias=bias, o_bias=bias, sparse=experts, per_token=int(c.get("num_experts_per_tok", 8)), head_norm="full")


def gpt_oss(c: Config) -> ModelFacts:
    count = int(c.get("num_local_experts", 128))
    bias = flag(c, "attention_bias", True)
    experts = expert_mlp(hidden_of(c), int(c["intermediate_size"]), count, bias=True)
    # One learned attention sink per head.
    return mixture(
        c, attention_bias=bias, o_bias=bias, sparse=experts, per_token=int(c.get("num_experts_per_tok", 4)), head_dim=64, other=heads_of(c)
    )


def first_dense_layers(c: Config, default: int) -> int:
    """Layers with a plain MLP before those with experts; `default` where the config does not say."""
    kinds = c.get("mlp_layer_types")
    if isinstance(kinds, list):
        return sum(kind == "dense" for kind in kinds[: layers_of(c)])
    given = c.get("first_k_dense_replace")
    return min(layers_of(c), default if given is None else int(given))


def deepseek(c: Config) -> ModelFacts:
    hidden, heads = hidden_of(c), heads_of(c)
    bias = flag(c, "attention_bias")
    nope, rope, value = int(c.get("qk_nope_head_dim", 128)), int(c.get("qk_rope_head_dim", 64)), int(c.get("v_head_dim", 128))
    low_rank = int(c.get("kv_lora_rank", 512))
    query_rank = c.get("q_lora_rank")
    queries: tuple[Matrix, ...]
    latent_norms = low_rank
    if query_rank:
        queries = (
            Matrix(name="q_a_proj", d_in=hidden, d_out=int(query_rank), role="attention", bias=bias),
            Matrix(name="q_b_proj", d_in=int(query_rank), d_out=heads * (nope + rope), role="attention"),
        )
        latent_norms += int(query_rank)
    else:
        queries = (Matrix(name="q_proj", d_in=hidden, d_out=heads * (nope + rope), role="attention"),)
    matrices = (
        *queries,
        Matrix(name="kv_a_proj_with_mqa", d_in=hidden, d_out=low_rank + rope, role="attention", bias=bias),
        Matrix(name="kv_b_proj", d_in=low_rank, d_out=heads * (nope + value), role="attention"),
        Matrix(name="o_proj", d_in=heads * value, d_out=hidden, role="attention", bias=bias),
    )
    inner = int(c["moe_intermediate_size"])
    routed = int(c.get("n_routed_experts") or 0)
    sparse = expert_mlp(hidden, inner, routed, router="gate") + gated_mlp(hidden, inner * int(c.get("n_shared_experts") or 1))
    first = first_dense_layers(c, 1 if c.get("model_type") == "glm4_moe_lite" else 0) if routed else layers_of(c)

    def block(mlp: tuple[Matrix, ...], experts_per_token: int = 0) -> Block:
        return block_of(
            c,
            matrices,
            mlp,
            experts_per_token=experts_per_token,
            head_norm=latent_norms,
            head_dim=nope + rope,
            value_dim=value,
            kv_heads=heads,
        )

    blocks = (
        (layers_of(c) - first, block(sparse, int(c.get("num_experts_per_tok") or 8))),
        (first, block(gated_mlp(hidden, int(c["intermediate_size"])))),
    )
    return model_of(c, blocks, tied=False, final_norm=hidden)
