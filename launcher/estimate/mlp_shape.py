"""The matrices of the MLP half of a block, plain, gated and mixed."""

from __future__ import annotations

from launcher.estimate.facts import Matrix


def gated_mlp(hidden: int, inner: int, bias: bool = False) -> tuple[Matrix, ...]:
    """Gate, up and down, as in Llama."""
    return (
        Matrix(name="gate_proj", d_in=hidden, d_out=inner, role="mlp", bias=bias),
        Matrix(name="up_proj", d_in=hidden, d_out=inner, role="mlp", bias=bias),
        Matrix(name="down_proj", d_in=inner, d_out=hidden, role="mlp", bias=bias),
    )


def fused_gated_mlp(hidden: int, inner: int) -> tuple[Matrix, ...]:
    """Gate and up in one matrix, as in Phi-3 and GLM."""
    return (
        Matrix(name="gate_up_proj", d_in=hidden, d_out=2 * inner, role="mlp"),
        Matrix(name="down_proj", d_in=inner, d_out=hidden, role="mlp"),
    )


def dense_mlp(hidden: int, inner: int, *, bias: bool, up: str, down: str) -> tuple[Matrix, ...]:
    """Two matrices around an activation."""
    return (
        Matrix(name=up, d_in=hidden, d_out=inner, role="mlp", bias=bias),
        Matrix(name=down, d_in=inner, d_out=hidden, role="mlp", bias=bias),
    )


def expert_mlp(hidden: int, inner: int, experts: int, *, bias: bool = False, router: str = "router") -> tuple[Matrix, ...]:
    """A router and its experts, whose matrices transformers 5 stacks in 3-D parameters. `bias` is for router and experts alike."""
    return (
        Matrix(name=router, d_in=hidden, d_out=experts, role="router", bias=bias, stacked=True),
        Matrix(name="gate_up_proj", d_in=hidden, d_out=2 * inner, role="expert", bias=bias, copies=experts, stacked=True),
        Matrix(name="down_proj", d_in=inner, d_out=hidden, role="expert", bias=bias, copies=experts, stacked=True),
    )
