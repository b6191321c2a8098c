"""Decoders of the GPT kind: one matrix for queries, keys and values, a plain MLP, often learned positions."""

from __future__ import annotations

from launcher.estimate.attention_shape import attention
from launcher.estimate.blocks import block_of, model_of
from launcher.estimate.config_keys import Config, flag, heads_of, hidden_of, layers_of
from launcher.estimate.facts import Matrix, ModelFacts
from launcher.estimate.mlp_shape import dense_mlp

GELU = {"gpt2": "gelu_new", "gptj": "gelu_new"}
"""The activation of architectures whose config may leave it out."""


DROPOUT = 0.1
"""What GPT-2 and GPT-BigCode drop where the config does not say (transformers' configurations)."""


def falcon(c: Config) -> ModelFacts:
    hidden, heads = hidden_of(c), heads_of(c)
    dim = hidden // heads
    bias = flag(c, "bias")
    new = flag(c, "new_decoder_architecture")
    kv = int(c.get("num_kv_heads") or heads) if new else (1 if flag(c, "multi_query", True) else heads)
    matrices = (
        Matrix(name="query_key_value", d_in=hidden, d_out=(heads + 2 * kv) * dim, role="attention", bias=bias),
        Matrix(name="dense", d_in=hidden, d_out=hidden, role="attention", bias=bias),
    )
    inner = int(c.get("ffn_hidden_size") or 4 * hidden)
    parallel_norms = c.get("num_ln_in_parallel_attn")
    if parallel_norms is None:
        parallel_norms = 2 if new else 1
    norms = int(parallel_norms) if flag(c, "parallel_attn", True) else 2
    block = block_of(
        c,
        matrices,
        dense_mlp(hidden, inner, bias=bias, up="dense_h_to_4h", down="dense_4h_to_h"),
        norms=norms,
        norm_bias=True,
        fp32_norm=False,
        gated=False,
        activation=GELU.get(str(c.get("model_type")), ""),
        kv_heads=kv,
        head_dim=dim,
        attention_dropout=bool(c.get("attention_dropout")),
        residual_dropouts=2 if c.get("hidden_dropout") else 0,
        shared_heads=kv == 1 and heads > 1 and not new,
    )
    return model_of(c, ((layers_of(c), block),), tied=True, final_norm=2 * hidden)


def _fused_gpt(
    c: Config,
    *,
    inner: int,
    qkv_bias: bool,
    positions: int,
    tied: bool,
    names: tuple[str, str, str, str],
    kv: int | None = None,
    bias: bool = True,
    norm_bias: bool = True,
    extra: int = 0,
    dropout: float = 0.0,
    rotated: bool = False,
) -> ModelFacts:
    """GPT-shaped decoders with one matrix for queries, keys and values; `names` are those of qkv, out, up and down."""
    hidden, heads = hidden_of(c), heads_of(c)
    dim, kv_heads = hidden // heads, kv or heads
    qkv, out, up, down = names
    matrices = (
        Matrix(name=qkv, d_in=hidden, d_out=(heads + 2 * kv_heads) * dim, role="attention", bias=qkv_bias),
        Matrix(name=out, d_in=hidden, d_out=hidden, role="attention", bias=qkv_bias),
    )
    block = block_of(
        c,
        matrices,
        dense_mlp(hidden, inner, bias=bias, up=up, down=down),
        norm_bias=norm_bias,
        fp32_norm=False,
        gated=False,
        activation=GELU.get(str(c.get("model_type")), ""),
        kv_heads=kv_heads,
        head_dim=dim,
        attention_dropout=float(c.get("attn_pdrop", dropout)) > 0,
        residual_dropouts=2 if float(c.get("resid_pdrop", dropout)) > 0 else 0,
        fused_heads=rotated,
    )
    return model_of(c, ((layers_of(c), block),), tied=tied, final_norm=hidden * (2 if norm_bias else 1), positions=positions, extra=extra)


def gpt2(c: Config) -> ModelFacts:
    inner = int(c.get("n_inner") or 4 * hidden_of(c))
    return _fused_gpt(
        c,
        inner=inner,
        qkv_bias=True,
        positions=int(c.get("n_positions", 1024)),
        tied=True,
        names=("c_attn", "c_proj", "c_fc", "c_proj"),
        dropout=DROPOUT,
    )


def gpt_bigcode(c: Config) -> ModelFacts:
    inner = int(c.get("n_inner") or 4 * hidden_of(c))
    kv = 1 if flag(c, "multi_query", True) else None
    return _fused_gpt(
        c,
        inner=inner,
        qkv_bias=True,
        positions=int(c.get("n_positions", 1024)),
        tied=True,
        names=("c_attn", "c_proj", "c_fc", "c_proj"),
        kv=kv,
        dropout=DROPOUT,
    )


def gpt_neox(c: Config) -> ModelFacts:
    names = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
    inner, bias = int(c["intermediate_size"]), flag(c, "attention_bias", True)
    return _fused_gpt(c, inner=inner, qkv_bias=bias, positions=0, tied=False, names=names, rotated=True)


def bloom(c: Config) -> ModelFacts:
    hidden = hidden_of(c)
    names = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
    return _fused_gpt(c, inner=4 * hidden, qkv_bias=True, positions=0, tied=True, names=names, extra=2 * hidden)


def mpt(c: Config) -> ModelFacts:
    names = ("Wqkv", "out_proj", "up_proj", "down_proj")
    inner = int(c.get("expansion_ratio", 4)) * hidden_of(c)
    return _fused_gpt(c, inner=inner, qkv_bias=False, positions=0, tied=True, names=names, bias=False, norm_bias=False)


def gptj(c: Config) -> ModelFacts:
    hidden, heads = hidden_of(c), heads_of(c)
    matrices = attention(hidden, heads=heads, kv_heads=heads, head_dim=hidden // heads, out="out_proj")
    inner = int(c.get("n_inner") or 4 * hidden)
    block = block_of(
        c,
        matrices,
        dense_mlp(hidden, inner, bias=True, up="fc_in", down="fc_out"),
        norms=1,
        norm_bias=True,
        fp32_norm=False,
        gated=False,
        activation=GELU.get(str(c.get("model_type")), ""),
    )
    return model_of(c, ((layers_of(c), block),), tied=False, final_norm=2 * hidden, extra=int(c["vocab_size"]))


def opt(c: Config) -> ModelFacts:
    hidden, heads = hidden_of(c), heads_of(c)
    width = int(c.get("word_embed_proj_dim") or hidden)
    bias = flag(c, "enable_bias", True)
    matrices = attention(hidden, heads=heads, kv_heads=heads, head_dim=hidden // heads, qkv_bias=bias, o_bias=bias, out="out_proj")
    block = block_of(
        c,
        matrices,
        dense_mlp(hidden, int(c["ffn_dim"]), bias=bias, up="fc1", down="fc2"),
        norm_bias=True,
        fp32_norm=False,
        gated=False,
        activation=GELU.get(str(c.get("model_type")), ""),
    )
    final = 2 * hidden if flag(c, "do_layer_norm_before", True) and not flag(c, "_remove_final_layer_norm") else 0
    projections = 2 * width * hidden if width != hidden else 0
    return model_of(
        c,
        ((layers_of(c), block),),
        tied=True,
        final_norm=final,
        positions=int(c.get("max_position_embeddings", 2048)) + 2,
        extra=projections,
        embedding_width=width,
    )
