"""Rules about devices that share a matrix product or a sequence."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import attention_of

# Implementations that see a whole sequence at once.
WHOLE_SEQUENCE = ("eager", "flex_attention", "xformers", "s2", "sage")
_BNB_8BIT = ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit")


def shared_matrices_are_plain(config: TrainingConfig) -> Iterator[Finding]:
    """GPUs that share a matrix product hold parts of matrices, which some optimizers and kernels do not understand."""
    size = config.tensor_parallel_size or 1
    if size == 1:
        return
    if config.optimizer in _BNB_8BIT:
        message = f"the optimizer '{config.optimizer}' does not go with tensor_parallel_size ({size})"
        yield conflict(("optimizer",), message, "Write `optimizer: adamw_torch_fused`.", "tensor_parallel_size")
    for name in ("liger_rms_norm", "liger_layer_norm", "liger_fused_linear_cross_entropy"):
        if given(config, name):
            yield conflict((name,), f"'{name}' does not go with tensor_parallel_size ({size})", "Remove it.", "tensor_parallel_size")


def shared_sequences_are_cut(config: TrainingConfig) -> Iterator[Finding]:
    """A sequence over several devices needs attention that can be computed in parts, and rows one at a time when they are packed."""
    size = config.context_parallel_size or 1
    if size == 1:
        return
    option, name = attention_of(config)
    if name in WHOLE_SEQUENCE:
        message = f"context_parallel_size ({size}) cuts sequences into parts, and '{name}' attention needs them whole"
        yield conflict(option, message, "Write `attn_implementation: flash_attention_2`.", "context_parallel_size")
    if config.sample_packing and (config.micro_batch_size or 1) > 1:
        message = (
            f"micro_batch_size must be 1 with `sample_packing: true` and context_parallel_size ({size}), found {config.micro_batch_size}"
        )
        yield conflict(
            ("micro_batch_size",), message, "Raise gradient_accumulation_steps instead.", "sample_packing", "context_parallel_size"
        )
    if config.rl in ("grpo", "gdpo"):
        message = (
            f"`rl: {config.rl}` generates inside the trainer, whole sequences at a time: it does not go with context_parallel_size ({size})"
        )
        yield conflict(("context_parallel_size",), message, "Remove it.", "rl")


def context_size_said_once(config: TrainingConfig) -> Iterator[Finding]:
    """Both places of the size agree."""
    inside = config.context_parallel.size if config.context_parallel is not None else None
    if inside and config.context_parallel_size and inside != config.context_parallel_size:
        message = f"'context_parallel.size' is {inside}, and 'context_parallel_size' is {config.context_parallel_size}"
        yield conflict(("context_parallel", "size"), message, "Keep one of them.", "context_parallel_size")


RULES = (shared_matrices_are_plain, shared_sequences_are_cut, context_size_said_once)
