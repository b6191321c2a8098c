"""Bytes per token of a layer of which only results of products are kept: selective checkpointing, and compiled layers."""

from __future__ import annotations

from launcher.estimate.facts import Block, ModelFacts, lora_targets
from launcher.estimate.layer_parts import dropout_bytes, half_of, leads_out, repeated_elements
from launcher.estimate.workload import Workload


def result_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """What remains when only the results of matrix products and of attention are kept: the residual stream twice, queries, keys, values, attention's
    result and its log-sum, and the MLP's first products. Norms, activations and casts are computed again from them."""
    c, r = workload.compute_bytes, workload.residual_bytes
    first = block.mlp_width * (2 if block.gated else 1) * max(1, block.experts_per_token)
    attention = block.query_width + block.kv_width + block.kv_heads * block.value_dim + block.heads * block.value_dim
    scores = (4 + c) * block.heads * workload.sequence if workload.attention == "eager" else 4 * block.heads
    return 2 * r * facts.hidden + c * (attention + first + repeated_elements(block, workload)) + scores


def compiled_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """What a compiled layer keeps: the results above, and what enters a matrix whose weight or adapter needs it for a gradient.

    The compiler computes again what costs no product, but for what a product of the backward pass would have to read whole (torch 2.13,
    functorch/partitioners.py; the tensors that the partitioned graphs of real layers save, full and LoRA, agree to the byte).
    """
    c, h, adapter = workload.compute_bytes, facts.hidden, workload.adapter
    targets = block.matrices if adapter is None else lora_targets(block, adapter.targets)
    casts = adapter is not None and workload.autocast and adapter.parameter_bytes > c
    entered = 0
    for role in ("attention", "mlp"):
        half = [matrix for matrix in targets if half_of(matrix.role) == role]
        routed = max(1, block.experts_per_token) if role == "mlp" else 1
        entered += h * routed if any(not leads_out(matrix.name, role) for matrix in half) else 0
        ends = any(leads_out(matrix.name, role) for matrix in half)
        # Attention's result is kept anyhow; an fp32 adapter reads a copy of it.
        last = block.mlp_width if role == "mlp" else block.heads * block.value_dim if casts else 0
        entered += last if ends else 0
    ranks = sum(adapter.rank_of(matrix.name) for matrix in targets) if adapter is not None else 0.0
    dropped = dropout_bytes(workload) * sum(matrix.d_in for matrix in targets) if adapter is not None else 0.0
    return result_bytes(facts, block, workload) + c * (entered + ranks) + dropped
