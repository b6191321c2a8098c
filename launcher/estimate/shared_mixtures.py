"""Mixtures of experts with experts that every token visits, and newer ones without."""

from __future__ import annotations

from launcher.estimate.config_keys import Config, flag, hidden_of, layers_of
from launcher.estimate.facts import Matrix, ModelFacts
from launcher.estimate.mixtures import first_dense_layers, mixture
from launcher.estimate.mlp_shape import expert_mlp, gated_mlp


def glm4_moe(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _with_shared(
        c, routed=int(c.get("n_routed_experts", 128)), qkv_bias=bias, head_norm="head" if flag(c, "use_qk_norm") else "", first=1
    )


def dots1(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return _with_shared(c, routed=int(c["n_routed_experts"]), qkv_bias=bias, o_bias=bias, head_norm="head")


def exaone_moe(c: Config) -> ModelFacts:
    return _with_shared(c, routed=int(c.get("num_experts", 128)), shared=int(c.get("num_shared_experts") or 1), head_norm="head", first=1)


def solar_open(c: Config) -> ModelFacts:
    return _with_shared(c, routed=int(c.get("n_routed_experts", 128)), head_dim=128)


def _with_shared(
    c: Config,
    *,
    routed: int,
    shared: int | None = None,
    qkv_bias: bool = False,
    o_bias: bool = False,
    head_norm: str = "",
    head_dim: int | None = None,
    first: int = 0,
) -> ModelFacts:
    """Routed experts beside shared ones in all layers but the first few; `first` of them where the config does not say."""
    hidden, inner = hidden_of(c), int(c["moe_intermediate_size"])
    each = int(c.get("n_shared_experts") or 1) if shared is None else shared
    return mixture(
        c,
        attention_bias=qkv_bias,
        o_bias=o_bias,
        sparse=expert_mlp(hidden, inner, routed, router="gate") + gated_mlp(hidden, inner * each),
        per_token=int(c.get("num_experts_per_tok") or 8),
        dense=gated_mlp(hidden, int(c.get("intermediate_size") or inner)),
        dense_layers=first_dense_layers(c, first),
        head_norm=head_norm,
        head_dim=head_dim,
    )


def ernie_moe(c: Config) -> ModelFacts:
    hidden, inner, experts = hidden_of(c), int(c["moe_intermediate_size"]), int(c.get("moe_num_experts", 64))
    bias = flag(c, "use_bias")
    start, interval = int(c.get("moe_layer_start_index", 1)), int(c.get("moe_layer_interval", 1))
    end = int(c.get("moe_layer_end_index", -1))
    last = layers_of(c) - 1 if end == -1 else end
    sparse_layers = sum(start <= layer <= last and (layer + 1) % interval == 0 for layer in range(layers_of(c)))
    shared = int(c.get("moe_num_shared_experts", 2))
    return mixture(
        c,
        attention_bias=bias,
        o_bias=bias,
        sparse=expert_mlp(hidden, inner, experts, router="gate") + (gated_mlp(hidden, inner * shared, bias) if shared else ()),
        per_token=int(c.get("moe_k", 6)),
        dense=gated_mlp(hidden, int(c["intermediate_size"]), bias),
        dense_layers=layers_of(c) - sparse_layers,
        # The correction of each expert's score.
        other_sparse=experts,
        tied=True,
    )


def granite_moe(c: Config) -> ModelFacts:
    hidden, inner = hidden_of(c), int(c["intermediate_size"])
    bias = flag(c, "attention_bias")
    shared = int(c.get("shared_intermediate_size") or 0) if c.get("model_type") != "granitemoe" else 0
    beside: tuple[Matrix, ...] = ()
    if shared:
        beside = (
            Matrix(name="input_linear", d_in=hidden, d_out=2 * shared, role="mlp"),
            Matrix(name="output_linear", d_in=shared, d_out=hidden, role="mlp"),
        )
    return mixture(
        c,
        attention_bias=bias,
        o_bias=bias,
        sparse=expert_mlp(hidden, inner, int(c.get("num_local_experts", 8))) + beside,
        per_token=int(c.get("num_experts_per_tok", 2)),
    )


def llama4(c: Config) -> ModelFacts:
    hidden, inner = hidden_of(c), int(c["intermediate_size"])
    bias = flag(c, "attention_bias")
    given, step = c.get("moe_layers"), int(c.get("interleave_moe_layer_step") or 1)
    sparse_layers = len(given) if isinstance(given, list) and given else layers_of(c) // step
    return mixture(
        c,
        attention_bias=bias,
        o_bias=bias,
        sparse=expert_mlp(hidden, inner, int(c.get("num_local_experts", 16))) + gated_mlp(hidden, inner),
        per_token=int(c.get("num_experts_per_tok", 1)),
        dense=gated_mlp(hidden, int(c.get("intermediate_size_mlp", 16384))),
        dense_layers=max(0, layers_of(c) - sparse_layers),
        head_dim=128,
    )


def phi_moe(c: Config) -> ModelFacts:
    bias = flag(c, "attention_bias")
    return mixture(
        c,
        attention_bias=bias,
        o_bias=bias,
        sparse=expert_mlp(hidden_of(c), int(c["intermediate_size"]), int(c.get("num_local_experts", 16))),
        per_token=int(c.get("num_experts_per_tok", 2)),
        norm_bias=True,
    )


def hunyuan_moe(c: Config) -> ModelFacts:
    hidden, inner = hidden_of(c), int(c["intermediate_size"])
    bias, visited = flag(c, "attention_bias"), c.get("moe_topk", 1)
    return mixture(
        c,
        attention_bias=bias,
        o_bias=bias,
        sparse=expert_mlp(hidden, inner, int(c.get("num_experts", 1))) + gated_mlp(hidden, inner),
        per_token=int(visited[0] if isinstance(visited, list) else visited),
        head_norm="head",
    )


def minimax(c: Config) -> ModelFacts:
    return mixture(
        c,
        attention_bias=False,
        sparse=expert_mlp(hidden_of(c), int(c["intermediate_size"]), int(c.get("num_local_experts", 256)), router="gate"),
        per_token=int(c.get("num_experts_per_tok", 8)),
        head_dim=128,
        head_norm="full",
    )
