"""Bytes of the weights on a card, frozen and trained."""

from __future__ import annotations

from launcher.estimate.facts import Block, Matrix, ModelFacts, lora_targets
from launcher.estimate.workload import Adapter, Quantization, Workload

QUANTIZED_BYTES: dict[Quantization, float] = {
    # One 4-bit code per weight and an fp32 scale for each 64 of them (bitsandbytes 0.50, block size 64).
    "nf4": 0.5 + 4 / 64,
    # The scales themselves in 8 bit, with an fp32 scale for each 256 of those.
    "nf4-dq": 0.5 + 1 / 64 + 4 / (64 * 256),
    # A checkpoint that is 4-bit itself (GPTQ, AWQ): codes packed in int32, and for each 128 weights a 16-bit scale and a 4-bit zero.
    "packed": 0.5 + (2 + 0.5) / 128,
    # One byte per weight; the fp32 scale of each row is below a thousandth.
    "int8": 1.0,
}


EMBEDDINGS = frozenset({"embed_tokens", "wte", "embed_in", "word_embeddings", "embeddings"})
HEADS = frozenset({"lm_head", "embed_out"})
"""Names of the modules at both ends of a model, as `lora_modules_to_save` has them."""

EXPERTS_LEFT_OUT = frozenset({"gpt_oss", "qwen2_moe"})
"""Mixtures whose routed experts PEFT's "all linear" does not reach (peft 0.21)."""


def frozen_or_trained_bytes(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the base model's weights, whole, as they are held between steps."""
    plain = facts.parameters
    quantized = 0
    if workload.quantization != "none":
        quantized = sum(count * matrix.weights for count, matrix in facts.matrices() if _is_quantized(matrix, workload))
        plain -= quantized
        # Embeddings, head and norms set the residual stream's format: 4 bytes after PEFT's preparation for k-bit training, 2 without it.
        return quantized * QUANTIZED_BYTES[workload.quantization] + plain * max(workload.residual_bytes, workload.weight_bytes)
    if workload.residual_bytes > workload.weight_bytes:
        blocks = sum(count * matrix.weights for count, matrix in facts.matrices())
        return blocks * workload.weight_bytes + (plain - blocks) * workload.residual_bytes
    return float(plain * workload.weight_bytes)


def block_bytes(block: Block, workload: Workload) -> float:
    """Bytes of one block's weights as they are held and gathered."""
    if workload.quantization == "none":
        return float(block.parameters * workload.weight_bytes)
    quantized = sum(matrix.weights for matrix in block.matrices if _is_quantized(matrix, workload))
    return quantized * QUANTIZED_BYTES[workload.quantization] + (block.parameters - quantized) * workload.weight_bytes


def _is_quantized(matrix: Matrix, workload: Workload) -> bool:
    return not matrix.stacked or (workload.quantized_experts and matrix.role == "expert")


def adapter_parameters(facts: ModelFacts, adapter: Adapter) -> int:
    """Elements an adapter trains, magnitudes included, whole modules excluded."""
    count = round(
        sum(
            layers * adapter.rank_of(matrix.name) * (matrix.d_in + matrix.d_out) * matrix.copies
            for layers, block in facts.blocks
            for matrix in (*lora_targets(block, adapter.targets), *adapted_stacks(facts, block, adapter))
        )
    )
    count += adapter.tokens * facts.hidden
    if adapter.magnitude:
        count += sum(layers * matrix.d_out for layers, block in facts.blocks for matrix in lora_targets(block, adapter.targets))
    # `lm_head` named as a target gets an adapter pair like any other matrix.
    if adapter.targets is not None and any(name.endswith("lm_head") for name in adapter.targets):
        count += adapter.rank * (facts.hidden + facts.vocab)
    return count


def adapted_stacks(facts: ModelFacts, block: Block, adapter: Adapter | None) -> tuple[Matrix, ...]:
    """Stacked matrices of a mixture that get an adapter: with "all linear" PEFT takes routed experts and their router too, as parameters, which it finds
    by its table of architectures (peft 0.21, utils/transformers_weight_conversion.py; the adapters of real models); and those named as parameters."""
    if adapter is None:
        return ()
    stacked = tuple(matrix for matrix in block.matrices if matrix.stacked)
    if adapter.targets is None and facts.model_type not in EXPERTS_LEFT_OUT:
        return stacked
    return tuple(matrix for matrix in stacked if matrix.name in adapter.stacks)


def merged_expert_bytes(facts: ModelFacts, block: Block, workload: Workload) -> tuple[float, float]:
    """(bytes of the weights of a layer's experts with their adapters added, bytes of the largest of those matrices).

    PEFT adds an adapter to an expert's weights before each forward pass, and the product keeps the sum for its backward pass (peft 0.21, ParamWrapper).
    """
    sizes = [
        matrix.weights * float(workload.weight_bytes)
        for matrix in adapted_stacks(facts, block, workload.adapter)
        if matrix.role == "expert"
    ]
    return sum(sizes), max(sizes, default=0.0)


def saved_module_parameters(facts: ModelFacts, adapter: Adapter) -> int:
    """Elements of modules trained whole beside an adapter."""
    whole = sum(1 for name in adapter.saved_modules if name.rsplit(".", 1)[-1] in EMBEDDINGS | HEADS)
    return whole * facts.embedding_parameters


def trained_parameters(facts: ModelFacts, workload: Workload) -> int:
    """Elements that get gradients."""
    if workload.adapter is None:
        return round(facts.parameters * workload.trained_share)
    return adapter_parameters(facts, workload.adapter) + saved_module_parameters(facts, workload.adapter)


def embedding_parameters_trained(facts: ModelFacts, workload: Workload) -> int:
    """Elements of the token embedding that get gradients; a head tied to it is the same tensor."""
    if workload.adapter is None:
        return round(facts.embedding_parameters * workload.trained_share)
    return facts.embedding_parameters if any(name.rsplit(".", 1)[-1] in EMBEDDINGS for name in workload.adapter.saved_modules) else 0


def trained_bytes_each(workload: Workload) -> int:
    """Bytes of one trained element, and of its gradient."""
    return workload.weight_bytes if workload.adapter is None else workload.adapter.parameter_bytes


def largest_matrix(facts: ModelFacts) -> Matrix:
    """The biggest single matrix of the blocks, copies counted apart."""
    return max((matrix for _, matrix in facts.matrices()), key=lambda matrix: matrix.d_in * matrix.d_out)


def largest_tensor(facts: ModelFacts, workload: Workload) -> int:
    """Elements of the biggest trained tensor."""
    if workload.adapter is not None:
        pairs = [
            workload.adapter.rank * max(m.d_in, m.d_out) for _, block in facts.blocks for m in lora_targets(block, workload.adapter.targets)
        ]
        saved = facts.embedding_parameters if saved_module_parameters(facts, workload.adapter) else 0
        return max([*pairs, saved, 0])
    stacked = [matrix.weights for _, matrix in facts.matrices() if matrix.stacked]
    matrix = largest_matrix(facts)
    return max([facts.embedding_parameters, matrix.d_in * matrix.d_out, *stacked])
