"""Bytes per token that are alive at once while a half of a layer runs backward."""

from __future__ import annotations

from launcher.estimate.facts import Block, ModelFacts
from launcher.estimate.layer_parts import adapts_end
from launcher.estimate.workload import Workload


def mlp_temporary_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Gradients alive at once in the MLP's backward pass, the one of the residual stream included."""
    c, r, ff, h = workload.compute_bytes, workload.residual_bytes, block.mlp_width / workload.mlp_pieces, facts.hidden
    adapter = workload.adapter
    if adapter is None:
        return 2 * c * ff + r * h
    if not adapts_end(block, workload, "mlp"):
        return 3 * c * ff + r * h
    if workload.autocast and adapter.parameter_bytes > c and "lora_mlp" not in workload.fused:
        # The gradient of the product returns through the adapter's fp32 input: one fp32 copy beside the 16-bit one, and the like for the MLP's input.
        dropped = 4 * ff if adapter.dropout else 0
        return (4 + c) * ff + (6 + r) * h + r * h + dropped
    return 2 * c * ff + r * h


def attention_temporary_bytes(block: Block, workload: Workload) -> float:
    """Gradients alive at once in attention's backward pass."""
    c = workload.compute_bytes
    if workload.attention == "eager":
        # On top of the saved probabilities. Live tensors of a step on a CPU: 6 bytes (gradients of probabilities and scores). Public T4 rows hold 8
        # there, and 10 where an fp32 mask has made the scores fp32: with the mask added, one more copy is alive.
        extra = 6 if workload.device == "cpu" else 8 if workload.residual_bytes == 2 else 10
        return (extra if c < 4 else 8) * block.heads * workload.sequence
    return c * (2 * block.query_width + 2 * block.kv_width)
