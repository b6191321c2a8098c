"""Bytes per token that one decoder layer keeps for its backward pass, and needs while that runs.

Derived operation by operation from the modelling files of transformers 5.23 and checked against the live tensors of real steps under a fake-tensor mode
(torch 2.13, 2026-11-22): Llama shapes in bf16 and fp32, full and LoRA, with and without autocast agree to the byte per element of every width, and the
families named in recipe_gaps.CHECKED to a few percent.
Below, r, c are the bytes of the residual stream and of matrix products; h, q, kv, ff the widths of hidden, queries, keys and MLP.
"""

from __future__ import annotations

from dataclasses import replace

from launcher.estimate.facts import DOWN_PROJECTIONS, Block, ModelFacts, lora_targets
from launcher.estimate.weights import adapted_stacks
from launcher.estimate.workload import Workload


def saved_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Bytes per token one layer keeps from forward to backward without checkpointing the whole layer."""
    whole = _attention_half(facts, block, workload) + _mlp_kept(facts, block, workload)
    if workload.checkpointing == "alternate":
        return min(whole, alternate_bytes(facts, block, workload))
    if workload.checkpointing == "selective":
        return min(whole, _operands(facts, block, workload))
    if workload.compiled:
        return min(whole, _compiled(facts, block, workload))
    return whole


def backward_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Peak bytes per token of one layer's backward pass: what it saved and what it computes, its own checkpoint excluded."""
    saved = _attention_half(facts, block, workload) + _mlp_half(facts, block, workload)
    if workload.compiled:
        saved = min(saved, _compiled(facts, block, workload))
    whole = saved + _mlp_temporaries(facts, block, workload)
    attention = _attention_half(facts, block, workload) + _attention_temporaries(block, workload) + workload.residual_bytes * facts.hidden
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


def _operands(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """What remains when only the results of matrix products and of attention are kept: the residual stream twice, queries, keys, values, attention's
    result and its log-sum, and the MLP's first products. Norms, activations and casts are computed again from them."""
    c, r = workload.compute_bytes, workload.residual_bytes
    first = block.mlp_width * (2 if block.gated else 1) * max(1, block.experts_per_token)
    attention = block.query_width + block.kv_width + block.kv_heads * block.value_dim + block.heads * block.value_dim
    scores = (4 + c) * block.heads * workload.sequence if workload.attention == "eager" else 4 * block.heads
    return 2 * r * facts.hidden + c * (attention + first + _repeated(block, workload)) + scores


def _compiled(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """What a compiled layer keeps: the results above, and what enters a matrix whose weight or adapter needs it for a gradient.

    The compiler computes again what costs no product, but for what a product of the backward pass would have to read whole (torch 2.13,
    functorch/partitioners.py; the tensors that the partitioned graphs of real layers save, full and LoRA, agree to the byte).
    """
    c, h, adapter = workload.compute_bytes, facts.hidden, workload.adapter
    targets = block.matrices if adapter is None else lora_targets(block, adapter.targets)
    casts = adapter is not None and workload.autocast and adapter.parameter_bytes > c
    entered = 0
    for role in ("attention", "mlp"):
        half = [matrix for matrix in targets if _half(matrix.role) == role]
        routed = max(1, block.experts_per_token) if role == "mlp" else 1
        entered += h * routed if any(not _leads_out(matrix.name, role) for matrix in half) else 0
        ends = any(_leads_out(matrix.name, role) for matrix in half)
        # Attention's result is kept anyhow; an fp32 adapter reads a copy of it.
        last = block.mlp_width if role == "mlp" else block.heads * block.value_dim if casts else 0
        entered += last if ends else 0
    ranks = sum(adapter.rank_of(matrix.name) for matrix in targets) if adapter is not None else 0.0
    dropped = _dropout_bytes(workload) * sum(matrix.d_in for matrix in targets) if adapter is not None else 0.0
    return _operands(facts, block, workload) + c * (entered + ranks) + dropped


def _repeated(block: Block, workload: Workload) -> int:
    """Elements a token by which keys and values grow where they are copied to every query head."""
    if not workload.repeats_keys:
        return 0
    return block.query_width - block.kv_width + (block.heads - block.kv_heads) * block.value_dim


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
    fed = [matrix for matrix in block.matrices if matrix.d_in == h and _half(matrix.role) == role and not _leads_out(matrix.name, role)]
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
    dropped = _dropout_bytes(workload) * h * len(targeted)
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
    targeted = [matrix for matrix in lora_targets(block, adapter.targets) if _half(matrix.role) == role]
    first = any(not _leads_out(matrix.name, role) for matrix in targeted) and shares
    last = (any(_leads_out(matrix.name, role) for matrix in targeted) and shares) or role == "attention"
    return workload.compute_bytes * ((0.0 if first else facts.hidden) + (0.0 if last else block.mlp_width))


def _magnitude_bytes(block: Block, workload: Workload, role: str) -> float:
    """DoRA scales the base matrix' product and the adapter's by a trained magnitude, and keeps both for its gradient, of every target of a half."""
    if workload.adapter is None or not workload.adapter.magnitude:
        return 0.0
    widths = sum(matrix.d_out for matrix in lora_targets(block, workload.adapter.targets) if _half(matrix.role) == role)
    return 2.0 * workload.compute_bytes * widths


def _dropout_bytes(workload: Workload) -> float:
    """Bytes per adapter input element for LoRA dropout: a one-byte mask on a GPU; a CPU keeps the scaled mask in fp32."""
    if workload.adapter is None or workload.adapter.dropout == 0:
        return 0.0
    return 1.0 if workload.device == "cuda" else 4.0


def _targets(block: Block, workload: Workload, role: str) -> bool:
    """Whether the matrix that leads out of a half keeps its input: it is trained, or has an adapter."""
    if workload.adapter is None:
        return True
    return any(_half(matrix.role) == role and _leads_out(matrix.name, role) for matrix in lora_targets(block, workload.adapter.targets))


def _attention_half(facts: ModelFacts, block: Block, workload: Workload) -> float:
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
    if workload.adapter is not None and _targets(block, workload, "attention") and "lora_o" not in workload.fused:
        if workload.autocast and workload.adapter.parameter_bytes > c:
            size += c * out
        size += c * workload.adapter.rank + _dropout_bytes(workload) * out
    return size


def _mlp_half(facts: ModelFacts, block: Block, workload: Workload) -> float:
    c, ff = workload.compute_bytes, block.mlp_width
    norms = max(0, block.norms - max(1, block.norms // 2))
    if workload.mlp_pieces > 1:
        # While the MLP runs backward, one piece of what it would keep is alive beside its input.
        whole = replace(workload, mlp_pieces=1)
        return _mlp_kept(facts, block, workload) + _mlp_half(facts, block, whole) / workload.mlp_pieces
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
    if _targets(block, workload, "mlp"):
        size += c * ff
    if workload.adapter is not None and _targets(block, workload, "mlp"):
        size += c * workload.adapter.rank + _dropout_bytes(workload) * ff
    return size + _routed_bytes(facts, block, workload)


def _routed_bytes(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """What a mixture keeps besides: every visited expert's result, for the gradient of the weight it is mixed with; and where adapters are added to experts'
    weights, their inputs: the token's state for each of them, and the products that enter the last matrices."""
    if not block.experts_per_token:
        return 0.0
    c, visited = workload.compute_bytes, block.experts_per_token
    size = c * facts.hidden * visited
    if adapted_stacks(facts, block, workload.adapter):
        size += c * facts.hidden * visited
        size += 0 if _targets(block, workload, "mlp") else c * block.mlp_width
    return float(size)


def _mlp_kept(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """What the MLP's half of a layer keeps until its backward pass: in pieces, its norm's input and its own."""
    if workload.mlp_pieces == 1:
        return _mlp_half(facts, block, workload)
    norms = max(0, block.norms - max(1, block.norms // 2))
    return norms * _norm(facts, block, workload) + workload.compute_bytes * facts.hidden


def _mlp_temporaries(facts: ModelFacts, block: Block, workload: Workload) -> float:
    """Gradients alive at once in the MLP's backward pass, the one of the residual stream included."""
    c, r, ff, h = workload.compute_bytes, workload.residual_bytes, block.mlp_width / workload.mlp_pieces, facts.hidden
    adapter = workload.adapter
    if adapter is None:
        return 2 * c * ff + r * h
    if not _targets(block, workload, "mlp"):
        return 3 * c * ff + r * h
    if workload.autocast and adapter.parameter_bytes > c and "lora_mlp" not in workload.fused:
        # The gradient of the product returns through the adapter's fp32 input: one fp32 copy beside the 16-bit one, and the like for the MLP's input.
        dropped = 4 * ff if adapter.dropout else 0
        return (4 + c) * ff + (6 + r) * h + r * h + dropped
    return 2 * c * ff + r * h


def _attention_temporaries(block: Block, workload: Workload) -> float:
    """Gradients alive at once in attention's backward pass."""
    c = workload.compute_bytes
    if workload.attention == "eager":
        # On top of the saved probabilities. Live tensors of a step on a CPU: 6 bytes (gradients of probabilities and scores). Public T4 rows hold 8
        # there, and 10 where an fp32 mask has made the scores fp32: with the mask added, one more copy is alive.
        extra = 6 if workload.device == "cpu" else 8 if workload.residual_bytes == 2 else 10
        return (extra if c < 4 else 8) * block.heads * workload.sequence
    return c * (2 * block.query_width + 2 * block.kv_width)


def _half(role: str) -> str:
    return "attention" if role == "attention" else "mlp"


def _leads_out(name: str, role: str) -> bool:
    if role == "attention":
        return name in ("o_proj", "out_proj", "dense") or name == "c_proj"
    return name in DOWN_PROJECTIONS
