"""Bytes per token that each half of a decoder layer keeps for its backward pass, as activations.py says how they were found."""

from __future__ import annotations

from dataclasses import replace

from launcher.estimate.facts import Block, ModelFacts, lora_targets
from launcher.estimate.layer_parts import adapts_end, dropout_bytes, half_of, leads_out
from launcher.estimate.weights import adapted_stacks
from launcher.estimate.workload import Workload


def attention_half_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Bytes per token that attention and its norms keep."""
    c = workload.compute_bytes
    q, kv, out = block.query_width, block.kv_width, block.heads * block.value_dim
    # The model's own dropout: a mask, in bytes on a GPU.
    size = block.residual_dropouts * facts.hidden * (1.0 if workload.device == "cuda" else float(c))
    size += max(1, block.norms // 2) * _norm(facts, block, workload) + _input_copies(facts, block, workload, "attention")
    # An explicit mask or eager attention repeats keys and values to the number of query heads.
    repeated = workload.attention == "eager" or workload.repeats_keys or (workload.attention == "sdpa" and workload.masked)
    keys_and_values = q + out if repeated else kv + block.kv_heads * block.value_dim
    size += c * (q + keys_and_values + (q + kv if block.fused_heads else 0) + block.other_saved) + _quantized_input(
        facts, block, workload, "attention"
    )
    if block.head_norms:
        size += (4 + ((4 if block.fp32_normed else c) if _trained_norms(workload) else 0)) * (q + kv)
    if workload.attention == "eager":
        # Scores after softmax in fp32, and their copy in the format of the products, for every head and key.
        size += (4 + c if c < 4 else 4) * block.heads * workload.sequence
    elif workload.attention == "sdpa" and block.splits_attention(workload.device):
        # Probabilities; with dropout also its mask and what it leaves of them. Keys and values are repeated to every head.
        size += c * (3 if block.attention_dropout else 1) * block.heads * workload.sequence + c * out
        size += 0 if repeated else c * (q + out - keys_and_values)
    else:
        size += c * out + 4 * block.heads
        if workload.attention == "sdpa" and workload.masked:
            size += c * workload.sequence
    if workload.attention == "eager":
        size += c * out
    if workload.adapter is not None and adapts_end(block, workload, "attention") and "lora_o" not in workload.fused:
        if workload.autocast and workload.adapter.parameter_bytes > c:
            size += c * out
        size += c * workload.adapter.rank + dropout_bytes(workload) * out
    return size


def mlp_half_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Bytes per token that the MLP and its norms keep while it runs backward."""
    c, ff = workload.compute_bytes, block.mlp_width
    norms = max(0, block.norms - max(1, block.norms // 2))
    if workload.mlp_pieces > 1:
        # While the MLP runs backward, one piece of what it would keep is alive beside its input.
        whole = replace(workload, mlp_pieces=1)
        return mlp_kept_bytes(facts, block, workload) + mlp_half_bytes(facts, block, whole) / workload.mlp_pieces
    size = (
        norms * _norm(facts, block, workload)
        + _input_copies(facts, block, workload, "mlp")
        + _quantized_input(facts, block, workload, "mlp")
    )
    # Gated: gate, up and activated gate; plain: the activation's input alone. The product that enters the last matrix comes on top when that is trained.
    copies = (2 if {"glu", "lora_mlp"} & workload.fused else 3) if block.gated else block.activation_copies
    size += c * ff * copies
    if "lora_mlp" in workload.fused:
        return size + _routed_bytes(facts, block, workload)
    if adapts_end(block, workload, "mlp"):
        size += c * ff
    if workload.adapter is not None and adapts_end(block, workload, "mlp"):
        size += c * workload.adapter.rank + dropout_bytes(workload) * ff
    return size + _routed_bytes(facts, block, workload)


def mlp_kept_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """What the MLP's half of a layer keeps until its backward pass: in pieces, its norm's input and its own."""
    if workload.mlp_pieces == 1:
        return mlp_half_bytes(facts, block, workload)
    norms = max(0, block.norms - max(1, block.norms // 2))
    return norms * _norm(facts, block, workload) + workload.compute_bytes * facts.hidden


def _routed_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """What a mixture keeps besides: every visited expert's result, for the gradient of the weight it is mixed with; and where adapters are added to experts'
    weights, their inputs: the token's state for each of them, and the products that enter the last matrices."""
    if not block.experts_per_token:
        return 0.0
    c, visited = workload.compute_bytes, block.experts_per_token
    size = c * facts.hidden * visited
    if adapted_stacks(facts, block, workload.adapter):
        size += c * facts.hidden * visited
        size += 0 if adapts_end(block, workload, "mlp") else c * block.mlp_width
    return float(size)


def _trained_norms(workload: Workload) -> bool:
    return workload.adapter is None


def _norm(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """One norm: its input in fp32 (RMSNorm computes there, and autocast sends LayerNorm there), and the normalised input when its weight is trained."""
    h, r = facts.hidden, workload.residual_bytes
    if "norm" in workload.fused and block.fp32_norm:
        return r * h
    wide = 4 if block.fp32_norm or workload.autocast else r
    trained = (4 if block.fp32_normed else r) * h if _trained_norms(workload) and block.fp32_norm else 0
    return wide * h + trained


def _input_copies(facts: ModelFacts, block: Block, workload: Workload, role: str) -> float:
    """Inputs that the matrices fed by a norm keep for their weights' or adapters' gradients."""
    h, c = facts.hidden, workload.compute_bytes
    fed = [matrix for matrix in block.matrices if matrix.d_in == h and half_of(matrix.role) == role and not leads_out(matrix.name, role)]
    adapter = workload.adapter
    if adapter is None:
        # Autocast casts an fp32 stream once for every matrix that reads it; a 16-bit stream is shared as it is.
        copies = len(fed) if workload.autocast and workload.residual_bytes > c else min(1, len(fed))
        routed = block.experts_per_token if role == "mlp" and block.experts_per_token else 1
        return c * h * copies * max(1, routed)
    targeted = [matrix for matrix in lora_targets(block, adapter.targets) if matrix in fed]
    if ("lora_qkv" if role == "attention" else "lora_mlp") in workload.fused:
        # One kernel for the base and the adapters keeps its 16-bit input alone.
        return float(c * h * min(1, len(targeted)))
    ranks = sum(c * adapter.rank for _ in targeted)
    dropped = dropout_bytes(workload) * h * len(targeted)
    if workload.autocast and adapter.parameter_bytes > c:
        # PEFT casts the input to the adapter's fp32 and autocast casts that back: a copy of its own for every target.
        return c * h * len(targeted) + ranks + dropped + _magnitude_bytes(block, workload, role)
    # What dropout leaves of the input differs from target to target.
    shared = min(1, len(targeted)) if adapter.dropout == 0 else len(targeted)
    return c * h * shared + ranks + dropped + _magnitude_bytes(block, workload, role)


def _quantized_input(facts: ModelFacts, block: Block, workload: Workload, role: str) -> float:
    """Inputs that products with quantized matrices keep where nothing else keeps the same tensor: an adapter reads it as it is unless it casts or drops.

    What enters attention's last matrix is its result, which is kept anyhow.
    """
    adapter = workload.adapter
    if not workload.early_quantization or workload.quantization == "none" or adapter is None:
        return 0.0
    shares = adapter.dropout == 0 and not (workload.autocast and adapter.parameter_bytes > workload.compute_bytes)
    targeted = [matrix for matrix in lora_targets(block, adapter.targets) if half_of(matrix.role) == role]
    first = any(not leads_out(matrix.name, role) for matrix in targeted) and shares
    last = (any(leads_out(matrix.name, role) for matrix in targeted) and shares) or role == "attention"
    return workload.compute_bytes * ((0.0 if first else facts.hidden) + (0.0 if last else block.mlp_width))


def _magnitude_bytes(block: Block, workload: Workload, role: str) -> float:
    """DoRA scales the base matrix' product and the adapter's by a trained magnitude, and keeps both for its gradient, of every target of a half."""
    if workload.adapter is None or not workload.adapter.magnitude:
        return 0.0
    widths = sum(matrix.d_out for matrix in lora_targets(block, workload.adapter.targets) if half_of(matrix.role) == role)
    return 2.0 * workload.compute_bytes * widths
