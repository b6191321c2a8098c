"""Bytes of the logits and the loss: for large vocabularies the largest activation of all."""

from __future__ import annotations

from launcher.estimate.facts import ModelFacts
from launcher.estimate.workload import Loss, Workload

BYTES_PER_LOGIT: dict[Loss, float] = {
    # Log-probabilities of a policy from whole logits: measured by others as 16.2 (Liger-Kernel's GRPO benchmark).
    "policy": 16.2,
    # 16-bit logits, their fp32 log-softmax, and two gradients of that size (transformers loss_utils.py). Measured by others: 14.13 (Liger-Kernel's
    # benchmark table), slopes of 14 in two public measurement series. A trainer that drops the outputs before the backward pass needs 12.
    "upcast": 14.0,
    # The same with logits that are fp32 from the start: four fp32 tensors.
    "fp32": 16.0,
    # And with outputs dropped before the backward pass, as the Trainer of transformers 5 does: live tensors of a step counted 12.0.
    "fp32-dropped": 12.0,
    # Cross entropy on 16-bit logits without the copy.
    "plain": 6.1,
    # 16-bit logits, their fp32 copy that becomes its own gradient (Liger's and Unsloth's cross entropy), and the 16-bit gradient. Measured by others as
    # 1,304 kB a token of Llama 3, checkpoints included: 8.1 for each of 128,256 logits.
    "in-place": 8.1,
    # Logits never exist whole: a fused linear cross entropy works through the rows (0.2 to 0.45 in Liger-Kernel's table).
    "fused": 0.45,
    "chunked": 0.45,
}

# Forward only, as in evaluation: no gradient, and no log-softmax kept beyond the loss.
EVALUATION_BYTES_PER_LOGIT = 10.0

CHUNK_TOKENS = 256
"""Rows of one chunk of the chunked loss."""


def loss_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes alive at the worst moment of the loss and its backward pass."""
    each = BYTES_PER_LOGIT[workload.loss]
    if workload.loss == "chunked":
        return (
            workload.tokens * facts.hidden * workload.compute_bytes
            + min(workload.tokens, CHUNK_TOKENS) * facts.vocab * BYTES_PER_LOGIT["upcast"]
        )
    if workload.loss == "fused":
        trained = facts.embedding_parameters * 4.0 if workload.adapter is None else 0.0
        return workload.tokens * facts.vocab * each + trained
    return workload.tokens * facts.vocab * each


def forward_loss_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the logits and the loss without a backward pass, for one evaluation batch."""
    tokens = workload.evaluation_batch * workload.pairs * workload.sequence
    if workload.loss in ("chunked", "fused"):
        return min(loss_bytes(facts, workload), tokens * facts.vocab * EVALUATION_BYTES_PER_LOGIT)
    return tokens * facts.vocab * (8.0 if workload.loss.startswith("fp32") else EVALUATION_BYTES_PER_LOGIT)


def held_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of logits that stay alive through the whole backward pass because somebody keeps the outputs."""
    if not workload.holds_logits or workload.loss in ("chunked", "fused"):
        return 0.0
    return workload.tokens * facts.vocab * (4.0 if workload.loss == "fp32" else 2.0)
