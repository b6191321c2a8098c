"""Bytes per token that one decoder layer keeps for its backward pass, and needs while that runs.

Derived operation by operation from the modelling files of transformers 5.23 and checked against the live tensors of real steps under a fake-tensor mode
(torch 2.13, 2026-11-22): Llama shapes in bf16 and fp32, full and LoRA, with and without autocast agree to the byte per element of every width, and the
families named in recipe_gaps.CHECKED to a few percent.
Below, r, c are the bytes of the residual stream and of matrix products; h, q, kv, ff the widths of hidden, queries, keys and MLP.
"""

from __future__ import annotations

from launcher.estimate.facts import Block, ModelFacts
from launcher.estimate.layer_halves import attention_half_bytes, mlp_half_bytes, mlp_kept_bytes
from launcher.estimate.layer_results import compiled_bytes, result_bytes
from launcher.estimate.layer_temporaries import attention_temporary_bytes, mlp_temporary_bytes
from launcher.estimate.workload import Workload


def saved_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Bytes per token one layer keeps from forward to backward without checkpointing the whole layer."""
    whole = attention_half_bytes(facts, block, workload) + mlp_kept_bytes(facts, block, workload)
    if workload.checkpointing == "alternate":
        return min(whole, alternate_bytes(facts, block, workload))
    if workload.checkpointing == "selective":
        return min(whole, result_bytes(facts, block, workload))
    if workload.compiled:
        return min(whole, compiled_bytes(facts, block, workload))
    return whole


def backward_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Peak bytes per token of one layer's backward pass: what it saved and what it computes, its own checkpoint excluded."""
    saved = attention_half_bytes(facts, block, workload) + mlp_half_bytes(facts, block, workload)
    if workload.compiled:
        saved = min(saved, compiled_bytes(facts, block, workload))
    whole = saved + mlp_temporary_bytes(facts, block, workload)
    attention = (
        attention_half_bytes(facts, block, workload) + attention_temporary_bytes(block, workload) + workload.residual_bytes * facts.hidden
    )
    return max(whole, attention)


def alternate_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Bytes per token one layer keeps where the results of attention and of every second matrix product are saved, in the order of the forward pass, and its
    input: torchtitan's selective checkpointing by operation."""
    results = [matrix.d_out for matrix in block.matrices if not matrix.stacked][::2]
    attention = block.heads * block.value_dim if workload.attention != "eager" else 0
    return workload.residual_bytes * facts.hidden + workload.compute_bytes * (sum(results) + attention) + 4.0 * block.heads


def checkpoint_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes per token of one layer's stored input."""
    return float(workload.residual_bytes * facts.hidden)


def attention_kept_bytes(block: Block, workload: Workload) -> float:
    """Bytes per token that one checkpointed layer keeps of attention where its result is not computed again: the result and its log-sum.

    Eager attention, and attention that falls apart into products, has no result of its own to keep.
    """
    if workload.attention == "eager" or block.splits_attention(workload.device):
        return 0.0
    return workload.compute_bytes * block.heads * block.value_dim + 4.0 * block.heads


def tail_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes per token kept between the last layer and the logits: the final norm's fp32 input, and the head's input where its weight is trained."""
    h = facts.hidden
    trained_head = workload.adapter is None
    normed = 4 if facts.largest_block.fp32_normed else workload.residual_bytes
    norm = 4 * h + (normed * h if trained_head else 0)
    return norm + (workload.compute_bytes * h if trained_head else 0)


def forward_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Peak bytes per token while a layer runs forward without keeping anything, as evaluation and checkpointing do."""
    c, ff = workload.compute_bytes, max(block.mlp_width, 1)
    return (workload.residual_bytes + 4) * facts.hidden + 3 * c * ff
