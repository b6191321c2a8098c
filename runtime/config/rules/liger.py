"""Rules of Liger's kernels."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

_OTHER_LOSSES = ("liger_fused_linear_cross_entropy", "chunked_cross_entropy", "cut_cross_entropy", "use_dft", "use_eaft", "kd_trainer")
_KERNELS = (
    "liger_rope",
    "liger_rms_norm",
    "liger_rms_norm_gated",
    "liger_layer_norm",
    "liger_glu_activation",
    "liger_cross_entropy",
    "liger_fused_linear_cross_entropy",
)
_HEADS = ("lm_head", "embed_out", "output_layer")


def one_loss(config: TrainingConfig) -> Iterator[Finding]:
    """Liger's cross entropy would stand in for a loss that another option replaces."""
    for other in _OTHER_LOSSES:
        if given(config, "liger_cross_entropy") and given(config, other):
            yield Finding(
                code="conflict",
                path=("liger_cross_entropy",),
                involves=(other,),
                message=f"'liger_cross_entropy' and '{other}' exclude each other: the second computes the loss in the place of the first",
                fix="Keep one of them; the fused one needs the least memory.",
            )


def token_scaling_has_loss(config: TrainingConfig) -> Iterator[Finding]:
    """Only the fused loss scales tokens."""
    if given(config, "liger_use_token_scaling") and not given(config, "liger_fused_linear_cross_entropy"):
        yield Finding(
            code="conflict",
            path=("liger_use_token_scaling",),
            involves=("liger_fused_linear_cross_entropy",),
            message="'liger_use_token_scaling' is part of Liger's fused loss, which is not on",
            fix="Set `liger_fused_linear_cross_entropy: true`, or `use_dft: true`, which weights tokens the same way without Liger.",
        )


def implementation_has_kernels(config: TrainingConfig) -> Iterator[Finding]:
    """An implementation is chosen for no kernel at all."""
    if given(config, "liger_kernel_impl") and not any(given(config, name) for name in _KERNELS):
        yield Finding(
            code="conflict",
            path=("liger_kernel_impl",),
            involves=_KERNELS,
            message="'liger_kernel_impl' chooses how Liger's kernels are written, and none is on",
            fix="Turn one on, such as `liger_rms_norm: true`, or remove it.",
        )


def head_without_adapter(config: TrainingConfig) -> Iterator[Finding]:
    """Liger's fused loss reads the weights of the head itself, so an adapter on the head would not learn."""
    named = config.lora_target_modules
    modules = [named] if isinstance(named, str) else named or []
    head = next((name for name in modules if name.rpartition(".")[2] in _HEADS), None)
    if head is not None and given(config, "liger_fused_linear_cross_entropy"):
        yield Finding(
            code="conflict",
            path=("liger_fused_linear_cross_entropy",),
            involves=("lora_target_modules",),
            message=f"Liger's fused loss reads the weights of the head itself: an adapter on '{head}' would have no part in it and learn nothing",
            fix=f"Take '{head}' out of `lora_target_modules`, or put it under `lora_modules_to_save`.",
        )


RULES = (one_loss, token_scaling_has_loss, implementation_has_kernels, head_without_adapter)
