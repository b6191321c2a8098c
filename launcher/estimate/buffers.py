"""Bytes beside weights, gradients and what layers keep: copies in other formats, masks, and what sharding leaves behind."""

from __future__ import annotations

from launcher.estimate.activations import checkpoint_bytes
from launcher.estimate.facts import ModelFacts, lora_targets
from launcher.estimate.sharding import Resident
from launcher.estimate.weights import largest_matrix, merged_expert_bytes
from launcher.estimate.workload import KEEPING, Workload


def merged_experts_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Experts' weights with their adapters added that wait for the backward pass: every layer's, unless layers are checkpointed."""
    if workload.checkpointing not in KEEPING:
        return 0.0
    return sum(count * merged_expert_bytes(facts, block, workload)[0] for count, block in facts.blocks)


def whole_matrices_bytes(facts: ModelFacts, workload: Workload) -> float:
    """What adapters need of whole weight matrices while one layer runs backward: of experts the gradient of the sum of weight and adapter, and where
    the layer is computed again the sums and the adapter's product; of DoRA there the product by way of an identity matrix, and the adapted weight."""
    adapter = workload.adapter
    if adapter is None:
        return 0.0
    again = workload.checkpointing not in KEEPING
    merged = [merged_expert_bytes(facts, block, workload) for _, block in facts.blocks]
    size = max(largest + (both if again else 0.0) for both, largest in merged)
    targets = [matrix for _, block in facts.blocks for matrix in lora_targets(block, adapter.targets)]
    if adapter.magnitude and again and targets:
        size += float(adapter.parameter_bytes) * max(matrix.d_in**2 + matrix.d_in * matrix.d_out for matrix in targets)
    return size


def left_behind_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes per token that FSDP 1 with an adapter leaves behind in every checkpointed layer until the backward pass has ended.

    Measured by others as one more copy of each layer's input beside the stored one: 254 kB a token on Mistral 7B, 1.2 MB on Llama 2 70B; full
    fine-tuning shows none. Where it comes from is not established.
    """
    sharding = workload.sharding
    if sharding.kind != "fsdp" or sharding.version != 1 or not sharding.in_trainer or sharding.gpus == 1 or workload.adapter is None:
        return 0.0
    return 2 * (facts.layers - 1) * checkpoint_bytes(facts, workload) if workload.checkpointing == "full" else 0.0


def missing_gradients_bytes(facts: ModelFacts, workload: Workload, state: Resident) -> float:
    """Gradients of full fine-tuning that do not exist yet at the worst moment of the first layer's backward pass: that layer's own but for the matrix
    that ends its MLP, and the embedding's when untied."""
    if workload.adapter is not None or not facts.parameters or workload.steps_in_backward:
        return 0.0
    block = min((block for _, block in facts.blocks), key=lambda block: block.parameters)
    ending = max(
        (matrix.parameters for matrix in block.matrices if matrix.d_in == block.mlp_width and matrix.role != "attention"), default=0
    )
    missing = block.parameters - ending + (0 if facts.tied else facts.embedding_parameters)
    return state.gradients * missing / facts.parameters


def cast_weights_bytes(workload: Workload, state: Resident) -> float:
    """Autocast's 16-bit copies of trained fp32 weights, kept for the backward pass unless the layers are checkpointed."""
    if not workload.autocast or workload.checkpointing not in KEEPING:
        return 0.0
    if workload.adapter is None:
        return state.weights / 2 if workload.weight_bytes > workload.compute_bytes and not workload.sharding.shards_weights else 0.0
    return state.adapter / 2 if workload.adapter.parameter_bytes > workload.compute_bytes else 0.0


def dequantized_bytes(facts: ModelFacts, workload: Workload) -> float:
    """The 16-bit copy of one 4-bit or 8-bit matrix while it is multiplied with, or of a layer's experts, which its backward pass needs together."""
    if workload.quantization == "none":
        return 0.0
    one = largest_matrix(facts)
    matrix = one.d_in * one.d_out * float(workload.compute_bytes + (2 if workload.early_quantization else 0))
    if not workload.quantized_experts:
        return matrix
    layers = (sum(each.weights for each in block.matrices if each.role == "expert") for _, block in facts.blocks)
    return max(matrix, max(layers) * float(workload.compute_bytes))


def mask_bytes(workload: Workload) -> float:
    """The boolean attention mask, one for all layers."""
    if not workload.masked and workload.attention != "eager":
        return 0.0
    if workload.attention == "flash":
        return 0.0
    return (
        workload.micro_batch
        * workload.pairs
        * float(workload.sequence) ** 2
        * (workload.compute_bytes if workload.attention == "eager" else 1)
    )
