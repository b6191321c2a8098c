"""What each card holds of the training state, and what collective operations add."""

from __future__ import annotations

from dataclasses import dataclass, replace

from launcher.estimate.facts import ModelFacts
from launcher.estimate.optimizer_state import state_bytes, step_bytes
from launcher.estimate.weights import (
    QUANTIZED_BYTES,
    block_bytes,
    frozen_or_trained_bytes,
    largest_tensor,
    trained_bytes_each,
    trained_parameters,
)
from launcher.estimate.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Bytes on one card: `weights` to `optimizer` stay between steps, `gradients` from backward to step, `step` at the step.

    `accumulated` are the gradients of earlier micro batches while the next one runs. While layers run `gather` is whole weights and buffers, `gather_at_loss` the same at the loss; `whole_gradients` are those of sharded parameters before
    their reduction while a layer runs backward, `last_gradients` when the first layer has.
    """

    weights: float
    adapter: float
    optimizer: float
    gradients: float
    gather: float
    step: float
    accumulated: float | None = None
    gather_at_loss: float | None = None
    whole_gradients: float = 0.0
    last_gradients: float = 0.0

    @property
    def of_earlier_batches(self) -> float:
        """Gradients of earlier micro batches while the next one runs."""
        return self.gradients if self.accumulated is None else self.accumulated

    @property
    def gathered_at_loss(self) -> float:
        """Whole weights and buffers alive at the loss."""
        return self.gather if self.gather_at_loss is None else self.gather_at_loss


def resident(facts: ModelFacts, workload: Workload) -> Resident:
    """The training state of one card."""
    sharding = workload.sharding
    n = sharding.gpus
    trained = trained_parameters(facts, workload)
    each = trained_bytes_each(workload)
    weights = frozen_or_trained_bytes(facts, workload)
    adapter = trained * each if workload.adapter is not None else 0.0
    states = state_bytes(facts, workload) + (trained * each if workload.gradient_means else 0.0)
    # With the step inside the backward pass one tensor's gradient exists at a time.
    gradients = float((largest_tensor(facts, workload) if workload.steps_in_backward else trained) * each)
    step = step_bytes(facts, workload)
    reference = frozen_or_trained_bytes(facts, workload) if workload.reference_model else 0.0
    if sharding.kind in ("none", "ddp"):
        buckets = gradients if n > 1 and sharding.kind == "ddp" else 0.0  # the reducer's flat buckets hold every gradient once more
        return Resident(weights=weights + reference, adapter=adapter, optimizer=states, gradients=gradients, gather=buckets, step=step)
    if sharding.kind == "fsdp":
        return _fsdp(facts, workload, weights=weights, reference=reference, adapter=adapter)
    return _zero(facts, workload, weights=weights, reference=reference, adapter=adapter)


def whole_tensor_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the largest tensor that a sharded checkpoint makes whole: FSDP 1 a whole layer or both ends of the model (torch's state-dict hooks gather
    unit by unit), FSDP 2 and ZeRO-3 one parameter."""
    upcast = workload.sharding.kind == "fsdp" and workload.adapter is None and workload.autocast
    each = 4.0 if upcast else float(workload.weight_bytes)
    ends = (facts.embedding_parameters + facts.head_parameters) * each
    block = facts.largest_block
    if workload.sharding.kind == "fsdp" and workload.sharding.version == 1:
        return max(block.parameters * each if upcast else block_bytes(block, workload), ends)
    held = QUANTIZED_BYTES.get(workload.quantization, each)
    stacked = max((matrix.weights for _, matrix in facts.matrices() if matrix.stacked), default=0)
    return max(facts.embedding_parameters * each, stacked * each, max(m.d_in * m.d_out for _, m in facts.matrices()) * held)


def in_host_memory_gib(facts: ModelFacts, workload: Workload) -> float:
    """GiB of all shards that FSDP keeps in host memory, over all cards: of what trains weights, gradients and two moments in fp32, and the frozen weights."""
    if workload.sharding.kind != "fsdp" or not workload.sharding.offload:
        return 0.0
    frozen = frozen_or_trained_bytes(facts, workload) if workload.adapter is not None else 0.0
    return (16.0 * trained_parameters(facts, workload) + frozen) / 2**30


def _fsdp(facts: ModelFacts, workload: Workload, *, weights: float, reference: float, adapter: float) -> Resident:
    """Fully sharded. Under mixed precision accelerate keeps trained parameters in fp32 whatever they were loaded in (utils/fsdp_utils.py): then weights,
    gradients and states of full fine-tuning are fp32, sharded."""
    n, block = workload.sharding.gpus, facts.largest_block
    trained = trained_parameters(facts, workload)
    upcast = workload.adapter is None and workload.autocast
    if upcast:
        weights = trained * 4.0
    each = 4.0 if upcast else float(trained_bytes_each(workload))
    states = state_bytes(facts, workload, each=each)
    # FSDP 2 makes DTensors of parameters, which torch's optimizers do not take together unless told (torch 2.13, _default_to_fused_or_foreach).
    step = step_bytes(facts, replace(workload, foreach=workload.foreach and workload.sharding.version == 1), each=each)
    unit = block_bytes(block, workload) if workload.adapter is not None else float(block.parameters * workload.compute_bytes)
    # Embedding and head belong to the root, which stays whole from its forward to its backward pass (torch, both versions), or are units of their own.
    one_end = facts.embedding_parameters * float(workload.compute_bytes)
    root = 0.0 if workload.sharding.ends_apart else (facts.embedding_parameters + facts.head_parameters) * float(workload.compute_bytes)
    # A layer and the one prefetched for it; at the loss the last layer is prefetched.
    gather, at_loss = 2 * unit + root, unit + max(root, one_end)
    if not workload.sharding.reshard:
        gather = at_loss = max(gather, facts.parameters * float(workload.compute_bytes))
    whole, last = _whole_gradients(facts, workload)
    share = 0.0 if workload.sharding.offload else 1.0
    return Resident(
        weights=share * (weights + reference) / n,
        adapter=share * adapter / n,
        optimizer=share * states / n,
        gradients=share * trained * each / n,
        gather=gather,
        step=share * step / n,
        # Until the last micro batch nothing is reduced: gradients are kept whole, in the products' format (transformers' Trainer, accelerate's no_sync).
        accumulated=None if workload.sharding.syncs_each_batch else trained * min(each, float(workload.compute_bytes)),
        gather_at_loss=at_loss,
        whole_gradients=whole,
        last_gradients=last,
    )


def _whole_gradients(facts: ModelFacts, workload: Workload) -> tuple[float, float]:
    """Bytes of whole gradients while a layer runs backward, and when embedding and head are reduced, last of all.

    They are copied for their reduction (torch, _fsdp_collectives.py), which accelerate runs in the products' format; the head's wait until the root is done.
    """
    c = float(workload.compute_bytes)
    if workload.adapter is not None:
        # Of the layer that is reduced and of the one before, whose reduction still runs.
        return (4 * c * facts.largest_block.parameters if workload.sharding.mixed_units else 0.0), 0.0
    block, ends = 2 * c * facts.largest_block.parameters, facts.embedding_parameters + facts.head_parameters
    if workload.sharding.ends_apart:
        return block, 2 * c * facts.embedding_parameters
    return block + c * facts.embedding_parameters, 2 * c * ends


LIVE_PARAMETERS, BUCKET = 1e9, 5e8
"""Elements that ZeRO-3 keeps gathered, and of a reduction bucket, where nothing is said (deepspeed 0.19, runtime/zero/config.py)."""


def _zero(facts: ModelFacts, workload: Workload, *, weights: float, reference: float, adapter: float) -> Resident:
    """DeepSpeed ZeRO: 16-bit parameters and gradients, and a sharded fp32 copy of what trains beside the optimizer's states, on one card too."""
    sharding = workload.sharding
    n, kind = sharding.gpus, sharding.kind
    trained = trained_parameters(facts, workload)
    half = trained * 2.0
    states_share = 0.0 if sharding.offload_states else 1.0
    # The optimizer steps on the fp32 copy with the reduced gradient in fp32.
    states = states_share * (trained * 4.0 + state_bytes(facts, workload, each=4.0)) / n
    step = states_share * trained * 4.0 / n
    gradients = states_share * (half if kind == "zero1" else half / n)
    bucket = float(facts.hidden**2) if sharding.bucket_by_width else BUCKET if sharding.bucket is None else sharding.bucket
    # One bucket that fills and one whose reduction runs.
    buckets = 2 * min(bucket, trained) * 2.0
    base = half if workload.adapter is None else weights
    if kind == "zero3":
        # Two blocks and the embeddings are whole at least, whatever the cap on gathered parameters.
        whole = 2 * block_bytes(facts.largest_block, workload) + (facts.embedding_parameters + facts.head_parameters) * 2.0
        cap = LIVE_PARAMETERS if sharding.live_parameters is None else sharding.live_parameters
        live = min(max(cap * 2.0, whole), base) if n > 1 or sharding.offload else 0.0
        share = 0.0 if sharding.offload else 1.0
        return Resident(
            weights=share * (base + reference) / n,
            adapter=share * adapter / n,
            optimizer=states,
            gradients=gradients,
            gather=live + buckets,
            step=step,
        )
    return Resident(weights=base + reference, adapter=adapter, optimizer=states, gradients=gradients, gather=buckets, step=step)
