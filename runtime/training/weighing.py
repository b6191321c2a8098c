"""What a checkpoint of this model and optimizer weighs, before one has been written."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from runtime.training.deadline import Sizes

# Adam's two moments: what an optimizer is taken to keep for each trained value as long as it has not made a step.
_MOMENTS = 2


def checkpoint_sizes(model: nn.Module, optimizer: Any, *, only_model: bool) -> Sizes:
    """Bytes of a full checkpoint and of the weights in it; an adapter's checkpoint holds the trained parameters alone.

    Sharded parameters count with their whole size. Small files (tokenizer, states) are left out: they are megabytes at most, and a measured
    checkpoint corrects for them.
    """
    adapted = hasattr(model, "peft_config")
    weights = sum(_bytes(parameter) for parameter in model.parameters() if parameter.requires_grad or not adapted)
    if only_model:
        return Sizes(full=weights, weights=weights)
    state = 0
    if optimizer is not None:
        held = getattr(getattr(optimizer, "optimizer", optimizer), "state", None) or {}
        state = sum(_bytes(value) for values in held.values() for value in _tensors(values))
    if not state:
        state = _MOMENTS * sum(_bytes(parameter) for parameter in model.parameters() if parameter.requires_grad)
    return Sizes(full=weights + state, weights=weights)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in values.values() if isinstance(value, torch.Tensor)] if isinstance(values, dict) else []


def _bytes(tensor: torch.Tensor) -> int:
    # DeepSpeed empties a parameter it has sharded, and notes its size.
    return int(getattr(tensor, "ds_numel", tensor.numel())) * tensor.element_size()
