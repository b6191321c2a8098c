"""The matrices of attention with separate projections."""

from __future__ import annotations

from launcher.estimate.facts import Matrix


def attention(
    hidden: int, *, heads: int, kv_heads: int, head_dim: int, qkv_bias: bool = False, o_bias: bool = False, out: str = "o_proj"
) -> tuple[Matrix, ...]:
    """Queries, keys, values and output; `out` is the output projection's name."""
    query, kv = heads * head_dim, kv_heads * head_dim
    return (
        Matrix(name="q_proj", d_in=hidden, d_out=query, role="attention", bias=qkv_bias),
        Matrix(name="k_proj", d_in=hidden, d_out=kv, role="attention", bias=qkv_bias),
        Matrix(name="v_proj", d_in=hidden, d_out=kv, role="attention", bias=qkv_bias),
        Matrix(name=out, d_in=query, d_out=hidden, role="attention", bias=o_bias),
    )
