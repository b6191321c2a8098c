"""Normalization layers in 32 bit inside a model of fewer bits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

# How the names of transformers' normalization classes end: LlamaRMSNorm, Gemma2RMSNorm, LayerNorm.
NORMALIZATION = ("RMSNorm", "LayerNorm")


def raise_norms(model: nn.Module, config: Any) -> int:
    """How many normalization layers of `model` now hold their weights and compute in float32; 0 when the recipe does not ask for it.

    Layers are chosen by `fp32_norm_classes`: each entry is the end of a class name, or a class with its module. What comes in is widened and what goes
    out narrowed again, so that the layers around them see the formats they had. Raises UserError when no layer matches.
    """
    if not config.fp32_norms:
        return 0
    import torch

    patterns = tuple(config.fp32_norm_classes or NORMALIZATION)
    chosen = [
        module for module in model.modules() if _matches(type(module), patterns) and any(True for _ in module.parameters(recurse=False))
    ]
    if not chosen:
        raise UserError(
            Problem(
                code="unknown-name",
                path="fp32_norm_classes" if config.fp32_norm_classes else "fp32_norms",
                message=f"no layer of this model is of a class named {', '.join(patterns)}",
                fix=f"its layers are of the classes {', '.join(sorted({type(module).__name__ for module in model.modules()}))}",
            )
        )
    for module in chosen:
        module.to(torch.float32)
        module.forward = _in_float32(module.forward)
    return len(chosen)


def _matches(kind: type, patterns: tuple[str, ...]) -> bool:
    return any(kind.__name__.endswith(pattern) or f"{kind.__module__}.{kind.__qualname__}" == pattern for pattern in patterns)


def _in_float32(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(forward)
    def widened(hidden: torch.Tensor, *inputs: Any, **named: Any) -> torch.Tensor:
        return forward(hidden.float(), *inputs, **named).to(hidden.dtype)

    return widened
