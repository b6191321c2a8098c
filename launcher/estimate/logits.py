"""Bytes of the logits and the loss: for large vocabularies the largest activation of all."""

from __future__ import annotations

from launcher.estimate.facts import ModelFacts
from launcher.estimate.workload import Loss, Workload

BYTES_PER_LOGIT: dict[Loss, float] = {
    # A few scores in place of the vocabulary's.
    "labels": 0.0,
    # Log-probabilities of a policy from whole logits: measured by others as 16.2, the states before them included (Liger-Kernel's GRPO benchmark).
    "policy": 16.0,
    # 16-bit logits, their fp32 log-softmax, and two gradients of that size (transformers loss_utils.py). Measured by others: 14.13 (Liger-Kernel's
    # benchmark table), slopes of 14 in two public measurement series. A trainer that drops the outputs before the backward pass needs 12.
    "upcast": 14.0,
    # The same with logits that are fp32 from the start: four fp32 tensors.
    "fp32": 16.0,
    # Either of them with outputs dropped before the backward pass, as the Trainer of transformers 5 does: fp32 logits, log-softmax and gradient, the
    # 16-bit logits gone. Live tensors of the runtime's own steps counted 12.0, in fp32 and under bf16 autocast.
    "dropped": 12.0,
    # Cross entropy on 16-bit logits without the copy: log-softmax and two gradients of 16 bit.
    "plain": 6.0,
    # 16-bit logits, their fp32 copy that becomes its own gradient (Liger's and Unsloth's cross entropy), and the 16-bit gradient. Measured by others as
    # 1,304 kB a token of Llama 3: 8.0 for each of 128,256 logits beside checkpoints and the last norm's input.
    "in-place": 8.0,
    # One kernel from 16-bit logits to the loss and one back to their 16-bit gradient, as a compiler makes of upcast and cross entropy.
    "compiled": 4.0,
    # The same inside a compiled model: when the forward pass ends, the 16-bit logits and the fp32 ones that accelerate makes of a model's outputs.
    "compiled-outputs": 6.0,
    # The same part by part, where the 16-bit logits of all parts exist before the first loss: those, and the gradient of one part.
    "parts": 2.0,
    # fp32 logits of all parts, held, and their log-softmax; one part's gradients come on top.
    "fp32-parts": 8.0,
    # Logits of one chunk of rows in 16 bit, which become their own gradient (Liger-Kernel's fused linear cross entropy).
    "fused": 2.0,
    # Logits never exist outside of a kernel (cut cross entropy).
    "cut": 0.0,
    # Of the logits of one part at a time; a 16-bit part is gone once its fp32 copy is there. Live tensors of the runtime's own steps, in fp32 and bf16.
    "chunked": 12.0,
}

# Forward only, as in evaluation: no gradient, and no log-softmax kept beyond the loss.
EVALUATION_BYTES_PER_LOGIT = 10.0


def loss_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes alive at the worst moment of the loss and its backward pass."""
    each = BYTES_PER_LOGIT[workload.loss]
    if workload.loss == "chunked":
        return _chunked_bytes(facts, workload)
    if workload.loss == "parts":
        return _parts_bytes(facts, workload)
    if workload.loss == "fp32-parts":
        return workload.tokens * facts.vocab * each * (1 + 1 / workload.loss_parts)
    if workload.loss in ("fused", "cut"):
        return _fused_bytes(facts, workload)
    return workload.tokens * facts.vocab * each


def forward_loss_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the logits and the loss without a backward pass, for one evaluation batch."""
    tokens = workload.evaluation_tokens
    if workload.loss == "labels":
        return 0.0
    if workload.loss in ("chunked", "fused", "cut"):
        return min(loss_bytes(facts, workload), tokens * facts.vocab * EVALUATION_BYTES_PER_LOGIT)
    return tokens * facts.vocab * (8.0 if workload.compute_bytes == 4 or workload.loss == "fp32" else EVALUATION_BYTES_PER_LOGIT)


def held_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of logits that stay alive through the whole backward pass because somebody keeps the outputs."""
    if not workload.holds_logits or workload.loss in ("chunked", "parts", "fused", "cut"):
        return 0.0
    return workload.tokens * facts.vocab * (4.0 if workload.loss == "fp32" else 2.0)


def _chunked_bytes(facts: ModelFacts, workload: Workload) -> float:
    """The supervised tokens' states and the logits of one part.

    A trained head gets a gradient from every part. While parts are added up, the sum so far, the new part and the new sum are alive, each as large as the
    head (torch 2.13; live tensors of real steps).
    """
    part = -(-workload.tokens // workload.loss_parts)
    states = float(workload.tokens * facts.hidden * workload.compute_bytes)
    logits = part * facts.vocab * BYTES_PER_LOGIT["chunked"]
    trained = workload.adapter is None or any(name.endswith("lm_head") for name in workload.adapter.saved_modules)
    if not trained:
        return states + logits
    head = facts.embedding_parameters * float(workload.compute_bytes)
    return states + (max(logits + head, 3 * head) if workload.loss_parts > 1 else logits + head)


def _fused_bytes(facts: ModelFacts, workload: Workload) -> float:
    """The gradient of the states that enter the head, computed in the forward pass; one chunk's logits, and where the head trains its gradient with the part
    that is added to it.

    Chunks are as many as the vocabulary is wider than the states, of a power of two of rows (liger_kernel/ops/fused_linear_cross_entropy.py). Liger's own
    benchmark holds 8 bytes for each element of the head, of which weight and earlier gradient are 4.
    """
    tokens, c = workload.tokens, float(workload.compute_bytes)
    states = tokens * facts.hidden * c
    head = facts.embedding_parameters * c if workload.adapter is None else 0.0
    if workload.loss == "cut":
        return states + head
    rows = -(-tokens // -(-facts.vocab // facts.hidden))
    chunk = min(tokens, 1 << max(0, rows - 1).bit_length())
    return states + chunk * facts.vocab * BYTES_PER_LOGIT["fused"] * c / 2 + 2 * head


def _parts_bytes(facts: ModelFacts, workload: Workload) -> float:
    """16-bit logits of all parts, which go one after the other, the gradient of one of them, and the head's gradients while they are added up."""
    whole = workload.tokens * facts.vocab * BYTES_PER_LOGIT["parts"]
    part = whole / workload.loss_parts
    if workload.adapter is not None:
        return whole + part
    head = facts.embedding_parameters * float(workload.compute_bytes)
    # With the first part's gradient the logits of no other are gone; with the second's those of two, and the sum, the new part and the new sum are alive.
    return max(whole + max(part, head), whole - 2 * part + 3 * head) if workload.loss_parts > 1 else whole + max(part, head)
