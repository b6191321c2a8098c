"""Which half of a layer a matrix belongs to, whether it ends it, and what adapters and repeated heads add to either."""

from __future__ import annotations

from launcher.estimate.facts import DOWN_PROJECTIONS, Block, lora_targets
from launcher.estimate.workload import Workload

ATTENTION_ENDS = frozenset({"o_proj", "out_proj", "dense", "c_proj"})
"""Names of the matrices that lead out of attention."""


def half_of(role: str) -> str:
    """`attention` or `mlp`: the half of a layer that a matrix of the role belongs to."""
    return "attention" if role == "attention" else "mlp"


def leads_out(name: str, role: str) -> bool:
    """Whether the matrix of that name ends its half."""
    return name in (ATTENTION_ENDS if role == "attention" else DOWN_PROJECTIONS)


def adapts_end(block: Block, workload: Workload, role: str) -> bool:
    """Whether the matrix that leads out of a half keeps its input: it is trained, or has an adapter."""
    if workload.adapter is None:
        return True
    return any(half_of(matrix.role) == role and leads_out(matrix.name, role) for matrix in lora_targets(block, workload.adapter.targets))


def dropout_bytes(workload: Workload) -> float:
    """Bytes per adapter input element for LoRA dropout: a one-byte mask on a GPU; a CPU keeps the scaled mask in fp32."""
    if workload.adapter is None or workload.adapter.dropout == 0:
        return 0.0
    return 1.0 if workload.device == "cuda" else 4.0


def repeated_elements(block: Block, workload: Workload) -> int:
    """Elements a token by which keys and values grow where they are copied to every query head."""
    if not workload.repeats_keys:
        return 0
    return block.query_width - block.kv_width + (block.heads - block.kv_heads) * block.value_dim
