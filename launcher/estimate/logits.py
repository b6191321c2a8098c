"""Bytes of the logits and the loss: for large vocabularies the largest activation of all."""

from __future__ import annotations

from launcher.estimate.facts import ModelFacts
from launcher.estimate.workload import Loss, Workload

BYTES_PER_LOGIT: dict[Loss, float] = {
    # A few scores in place of the vocabulary's.
    "labels": 0.0,
    # Log-probabilities of a policy from whole logits: measured by others as 16.2 (Liger-Kernel's GRPO benchmark).
    "policy": 16.2,
    # 16-bit logits, their fp32 log-softmax, and two gradients of that size (transformers loss_utils.py). Measured by others: 14.13 (Liger-Kernel's
    # benchmark table), slopes of 14 in two public measurement series. A trainer that drops the outputs before the backward pass needs 12.
    "upcast": 14.0,
    # The same with logits that are fp32 from the start: four fp32 tensors.
    "fp32": 16.0,
    # Either of them with outputs dropped before the backward pass, as the Trainer of transformers 5 does: fp32 logits, log-softmax and gradient, the
    # 16-bit logits gone. Live tensors of the runtime's own steps counted 12.0, in fp32 and under bf16 autocast.
    "dropped": 12.0,
    # Cross entropy on 16-bit logits without the copy.
    "plain": 6.1,
    # 16-bit logits, their fp32 copy that becomes its own gradient (Liger's and Unsloth's cross entropy), and the 16-bit gradient. Measured by others as
    # 1,304 kB a token of Llama 3, checkpoints included: 8.1 for each of 128,256 logits.
    "in-place": 8.1,
    # Logits never exist whole: a fused linear cross entropy works through the rows (0.2 to 0.45 in Liger-Kernel's table).
    "fused": 0.45,
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
    if workload.loss == "fused":
        trained = facts.embedding_parameters * 4.0 if workload.adapter is None else 0.0
        return workload.tokens * facts.vocab * each + trained
    return workload.tokens * facts.vocab * each


def forward_loss_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the logits and the loss without a backward pass, for one evaluation batch."""
    tokens = workload.evaluation_tokens
    if workload.loss == "labels":
        return 0.0
    if workload.loss in ("chunked", "fused"):
        return min(loss_bytes(facts, workload), tokens * facts.vocab * EVALUATION_BYTES_PER_LOGIT)
    return tokens * facts.vocab * (8.0 if workload.compute_bytes == 4 or workload.loss == "fp32" else EVALUATION_BYTES_PER_LOGIT)


def held_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of logits that stay alive through the whole backward pass because somebody keeps the outputs."""
    if not workload.holds_logits or workload.loss in ("chunked", "fused"):
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
