"""Decoders of the Llama kind: separate or joined projections, two or more norms, a gated MLP or a plain one."""

from __future__ import annotations

from collections.abc import Callable

from launcher.estimate.attention_shape import attention
from launcher.estimate.blocks import block_of, model_of
from launcher.estimate.config_keys import Config, flag, head_dim_of, heads_of, hidden_of, kv_heads_of, layers_of
from launcher.estimate.facts import Matrix, ModelFacts
from launcher.estimate.mlp_shape import dense_mlp, fused_gated_mlp, gated_mlp


def _llama_like(
    config: Config,
    *,
    qkv_bias: bool = False,
    o_bias: bool = False,
    mlp_bias: bool = False,
    tied: bool = False,
    head_dim: int | None = None,
    norms: int = 2,
    norm_bias: bool = False,
    norm_weight: bool = True,
    fp32_norm: bool = True,
    fp32_normed: bool = False,
    head_norm: str = "",
    mlp: Callable[[int, int, bool], tuple[Matrix, ...]] = gated_mlp,
    gated: bool = True,
    head_bias: bool = False,
    other: int = 0,
) -> ModelFacts:
    """Decoders with separate q, k, v, o projections. `head_norm`: "head" for a weight per head dimension, "full" per projection width."""
    hidden, heads, kv = hidden_of(config), heads_of(config), kv_heads_of(config)
    dim = head_dim_of(config, head_dim)
    widths = {"": 0, "head": 2 * dim, "full": (heads + kv) * dim}
    block = block_of(
        config,
        attention(hidden, heads=heads, kv_heads=kv, head_dim=dim, qkv_bias=qkv_bias, o_bias=o_bias),
        mlp(hidden, int(config["intermediate_size"]), mlp_bias),
        norms=norms,
        norm_bias=norm_bias,
        norm_weight=norm_weight,
        fp32_norm=fp32_norm,
        fp32_normed=fp32_normed,
        head_norm=widths[head_norm],
        head_dim=dim,
        gated=gated,
        other=other,
    )
    final = hidden * ((1 if norm_weight else 0) + (1 if norm_bias else 0))
    return model_of(config, ((layers_of(config), block),), tied=tied, final_norm=final, extra=int(config["vocab_size"]) if head_bias else 0)


def llama(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, mlp_bias=flag(c, "mlp_bias"))


def mistral(c: Config) -> ModelFacts:
    return _llama_like(c)


def qwen2(c: Config) -> ModelFacts:
    return _llama_like(c, qkv_bias=True)


def qwen3(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, head_dim=128, head_norm="head")


def gemma(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, head_dim=256, tied=True, fp32_normed=True)


def gemma2(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, head_dim=256, tied=True, fp32_normed=True, norms=4)


def gemma3(c: Config) -> ModelFacts:
    c = {"vocab_size": 262208, "head_dim": 256, "num_attention_heads": 8, "num_key_value_heads": 4, **c}
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, head_dim=256, tied=True, fp32_normed=True, norms=4, head_norm="head")


def hunyuan(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, mlp_bias=flag(c, "mlp_bias"), head_norm="head")


def apertus(c: Config) -> ModelFacts:
    bias, mlp_bias = flag(c, "attention_bias"), flag(c, "mlp_bias")

    def mlp(hidden: int, inner: int, _: bool) -> tuple[Matrix, ...]:
        return dense_mlp(hidden, inner, bias=mlp_bias, up="up_proj", down="down_proj")

    # xIELU learns two slopes.
    return _llama_like(c, qkv_bias=bias, o_bias=bias, head_norm="head", mlp=mlp, gated=False, other=2)


def nanochat(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")

    def mlp(hidden: int, inner: int, _: bool) -> tuple[Matrix, ...]:
        return dense_mlp(hidden, inner, bias=False, up="fc1", down="fc2")

    return _llama_like(c, qkv_bias=bias, o_bias=bias, norm_weight=False, mlp=mlp, gated=False)


def bitnet(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    # Norms before the matrices that lead out of attention and of the MLP.
    return _llama_like(c, qkv_bias=bias, o_bias=bias, other=hidden_of(c) + int(c["intermediate_size"]))


def granite(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, mlp_bias=flag(c, "mlp_bias"))


def seed_oss(c: Config) -> ModelFacts:
    return _llama_like(
        c, qkv_bias=flag(c, "attention_bias", True), o_bias=flag(c, "attention_out_bias"), mlp_bias=flag(c, "mlp_bias"), head_dim=128
    )


def ernie(c: Config) -> ModelFacts:
    bias = flag(c, "use_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, mlp_bias=bias, tied=True)


def olmo(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, norm_weight=False)


def olmo2(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _llama_like(c, qkv_bias=bias, o_bias=bias, head_norm="full")


def cohere(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    # Its query and key norms have one weight per head and dimension, which is the full width.
    return _llama_like(c, qkv_bias=bias, o_bias=bias, tied=True, norms=1, head_norm="full" if flag(c, "use_qk_norm") else "")


def stablelm(c: Config) -> ModelFacts:
    norms = 1 if flag(c, "use_parallel_residual") else 2
    return _llama_like(c, qkv_bias=flag(c, "use_qkv_bias"), norms=norms, norm_bias=True, fp32_norm=False)


def starcoder2(c: Config) -> ModelFacts:
    bias = flag(c, "use_bias", True)

    def mlp(hidden: int, inner: int, _: bool) -> tuple[Matrix, ...]:
        return dense_mlp(hidden, inner, bias=bias, up="c_fc", down="c_proj")

    return _llama_like(c, qkv_bias=bias, o_bias=bias, tied=True, norm_bias=True, fp32_norm=False, mlp=mlp, gated=False)


def nemotron(c: Config) -> ModelFacts:
    bias, mlp_bias = flag(c, "attention_bias"), flag(c, "mlp_bias")

    def mlp(hidden: int, inner: int, _: bool) -> tuple[Matrix, ...]:
        return dense_mlp(hidden, inner, bias=mlp_bias, up="up_proj", down="down_proj")

    return _llama_like(c, qkv_bias=bias, o_bias=bias, norm_bias=True, fp32_norm=False, mlp=mlp, gated=False)


def arcee(c: Config) -> ModelFacts:
    bias, mlp_bias = flag(c, "attention_bias"), flag(c, "mlp_bias")

    def mlp(hidden: int, inner: int, _: bool) -> tuple[Matrix, ...]:
        return dense_mlp(hidden, inner, bias=mlp_bias, up="up_proj", down="down_proj")

    return _llama_like(c, qkv_bias=bias, o_bias=bias, mlp=mlp, gated=False)


def glm(c: Config) -> ModelFacts:
    norms = 4 if c.get("model_type") == "glm4" else 2
    return _llama_like(c, qkv_bias=flag(c, "attention_bias"), head_dim=128, norms=norms, mlp=lambda h, i, _: fused_gated_mlp(h, i))


def exaone4(c: Config) -> ModelFacts:
    return _llama_like(c, head_norm="head")


def phi(c: Config) -> ModelFacts:
    hidden, heads, kv = hidden_of(c), heads_of(c), kv_heads_of(c)
    dim = hidden // heads
    matrices = attention(hidden, heads=heads, kv_heads=kv, head_dim=dim, qkv_bias=True, o_bias=True, out="dense")
    block = block_of(
        c,
        matrices,
        dense_mlp(hidden, int(c["intermediate_size"]), bias=True, up="fc1", down="fc2"),
        norms=1,
        norm_bias=True,
        fp32_norm=False,
        gated=False,
        head_norm=4 * dim if flag(c, "qk_layernorm") else 0,
        activation="gelu_new",
    )
    return model_of(c, ((layers_of(c), block),), tied=False, final_norm=2 * hidden, extra=int(c["vocab_size"]))


def phi3(c: Config) -> ModelFacts:
    hidden, heads, kv = hidden_of(c), heads_of(c), kv_heads_of(c)
    dim = head_dim_of(c)
    matrices = (
        Matrix(name="qkv_proj", d_in=hidden, d_out=(heads + 2 * kv) * dim, role="attention"),
        Matrix(name="o_proj", d_in=heads * dim, d_out=hidden, role="attention"),
    )
    block = block_of(c, matrices, fused_gated_mlp(hidden, int(c["intermediate_size"])), fused_heads=True)
    return model_of(c, ((layers_of(c), block),), tied=False, final_norm=hidden)
