"""What each card holds of the training state, and what collective operations add."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.estimate.facts import ModelFacts
from launcher.estimate.optimizer_state import state_bytes, step_bytes
from launcher.estimate.weights import block_bytes, frozen_or_trained_bytes, largest_tensor, trained_bytes_each, trained_parameters
from launcher.estimate.workload import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Bytes on one card: `weights` to `optimizer` stay between steps, `gradients` from backward to step, `gather` while layers run, `step` at the step."""

    weights: float
    adapter: float
    optimizer: float
    gradients: float
    gather: float
    step: float


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
    if n == 1 or sharding.kind in ("none", "ddp"):
        buckets = gradients if n > 1 and sharding.kind == "ddp" else 0.0  # the reducer's flat buckets hold every gradient once more
        return Resident(weights=weights + reference, adapter=adapter, optimizer=states, gradients=gradients, gather=buckets, step=step)
    if sharding.kind == "fsdp":
        return _fsdp(facts, workload, weights=weights, reference=reference, adapter=adapter)
    return _zero(facts, workload, weights=weights, reference=reference, adapter=adapter)


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
    step = step_bytes(facts, workload, each=each)
    unit = block_bytes(block, workload) if workload.adapter is not None else float(block.parameters * workload.compute_bytes)
    root = (facts.embedding_parameters + facts.head_parameters) * float(workload.compute_bytes)
    gather = 2 * unit + root
    if not workload.sharding.reshard:
        gather = max(gather, facts.parameters * float(workload.compute_bytes))
    # One block's whole gradients wait for their reduction, which runs in fp32 where the parameters are.
    whole_gradients = max(block.parameters, facts.embedding_parameters) * each if workload.adapter is None else 0.0
    share = 0.0 if workload.sharding.offload else 1.0
    return Resident(
        weights=share * (weights + reference) / n,
        adapter=share * adapter / n,
        optimizer=share * states / n,
        gradients=share * trained * each / n,
        gather=gather + whole_gradients,
        step=share * step / n,
    )


def _zero(facts: ModelFacts, workload: Workload, *, weights: float, reference: float, adapter: float) -> Resident:
    """DeepSpeed ZeRO: 16-bit parameters and gradients, fp32 master weights and states in the sharded optimizer."""
    n, kind = workload.sharding.gpus, workload.sharding.kind
    trained = trained_parameters(facts, workload)
    half = trained * 2.0
    share = 0.0 if workload.sharding.offload else 1.0
    # Master copy, two moments: 12 bytes; the reduced gradient in fp32: 4 more.
    states = share * trained * 12.0 / n
    gradients = share * (half if kind == "zero1" else half / n)
    # Flat reduction buckets of 5e8 elements at most, twice (reduce and allgather bucket).
    buckets = 2 * min(5e8, trained) * 2.0
    base = half if workload.adapter is None else weights
    if kind == "zero3":
        # Live whole parameters are capped by stage3_max_live_parameters (1e9); two blocks and the embeddings at least.
        whole = 2 * block_bytes(facts.largest_block, workload) + (facts.embedding_parameters + facts.head_parameters) * 2.0
        live = min(max(1e9 * 2.0, whole), base)
        return Resident(
            weights=share * (base + reference) / n,
            adapter=share * adapter / n,
            optimizer=states,
            gradients=gradients,
            gather=live + buckets,
            step=share * trained * 4.0 / n,
        )
    return Resident(
        weights=base + reference, adapter=adapter, optimizer=states, gradients=gradients, gather=buckets, step=share * trained * 4.0 / n
    )
