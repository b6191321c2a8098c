"""Rules of Grokfast, which works on whole gradients between the backward pass and the optimizer's step."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

_REASONS = {
    "fsdp": "gradients are spread over devices there, and so would be their means, which a checkpoint keeps whole",
    "fsdp_config": "gradients are spread over devices there, and so would be their means, which a checkpoint keeps whole",
    "deepspeed": "DeepSpeed keeps the gradients to itself",
    "fp16": "a gradient that overflows in fp16 is left out by the optimizer, and would stay in the mean for ever",
    "float16": "a gradient that overflows in fp16 is left out by the optimizer, and would stay in the mean for ever",
}


def gradients_are_whole(config: TrainingConfig) -> Iterator[Finding]:
    """Something else owns the gradients, or leaves some of them out."""
    option = next((name for name in ("grokfast_alpha", "grokfast_lamb") if getattr(config, name) is not None), None)
    if option is None:
        return
    for other, why in _REASONS.items():
        if given(config, other):
            yield Finding(
                code="conflict",
                path=(option,),
                involves=(other,),
                message=f"Grokfast does not work with '{other}': {why}",
                fix=f"Remove {option}, or '{other}'.",
            )
    optimizer = config.optimizer or ""
    if optimizer in ("lomo", "adalomo") or optimizer.endswith("_layerwise"):
        yield Finding(
            code="conflict",
            path=(option,),
            involves=("optimizer",),
            message=f"Grokfast does not work with 'optimizer: {optimizer}', which uses up each gradient inside the backward pass",
            fix="Take another optimizer, such as adamw_torch_fused.",
        )


RULES = (gradients_are_whole,)
