"""The weights of a sharded model: into a checkpoint, back from one, and whole for the final model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from runtime.model.adapter import adapter_tensors
from runtime.training.sharding.tensors import model_tensors, read, wholes, write

if TYPE_CHECKING:
    from peft import PeftModel

    from runtime.training.processes import Rank

STEM = "model"

Formats = dict[str, torch.dtype]


def formats_of(model: torch.nn.Module) -> Formats:
    """The number format of every parameter and saved buffer, by its plain name."""
    return {name: tensor.dtype for name, tensor in model_tensors(model).items()}


def write_weights(model: Any, folder: Path, rank: Rank, *, all_write: bool) -> None:
    """Write the weights in the format they train in, and the model's configuration beside them: a folder that transformers loads. Every process calls it."""
    tensors = model_tensors(model)
    write(folder, tensors, rank, stem=STEM, all_write=all_write)
    if rank.is_main:
        inner = getattr(model, "_orig_mod", model)
        inner.config.architectures = [type(inner).__name__.removeprefix("FSDP")]
        inner.config.save_pretrained(folder)
        if inner.can_generate():
            inner.generation_config.save_pretrained(folder)


def read_weights(model: Any, folder: Path) -> None:
    """Take up the weights stored in `folder`, sharded or not, by whatever number of processes they were written. Raises UserError where they do not fit."""
    read(folder, model_tensors(model), stem=STEM)


def whole_weights(model: Any, rank: Rank, formats: Formats) -> dict[str, torch.Tensor] | None:
    """All weights in host memory in these formats, on the process that writes; None on the others. Every process calls it."""
    return wholes(model_tensors(model), rank, formats=formats)


def say_format(model: Any, folder: Path, formats: Formats) -> None:
    """Have the configuration in `folder` name the format the weights were written in, not the one they train in."""
    kind = next((kind for kind in formats.values() if kind.is_floating_point), torch.float32)
    trained = model.config.dtype
    model.config.dtype = str(kind).removeprefix("torch.")
    model.config.save_pretrained(folder)
    model.config.dtype = trained


def whole_adapter(model: PeftModel, rank: Rank) -> dict[str, torch.Tensor] | None:
    """What peft needs of a model's state to store the adapter, whole and in host memory, on the process that writes; None on the others."""
    return wholes(adapter_tensors(model), rank)


def read_adapter(model: PeftModel, folder: Path) -> None:
    """Take up the adapter stored in `folder`: each process keeps its part."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file
    from torch.distributed.tensor import DTensor

    stored = load_file(folder / "adapter_model.safetensors")
    example = next(parameter for parameter in model.parameters() if isinstance(parameter, DTensor))
    set_peft_model_state_dict(model, {name: _spread_like(example, tensor) for name, tensor in stored.items()})


def _spread_like(example: Any, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor`, which every process has, with each keeping its part of it."""
    from torch.distributed.tensor import distribute_tensor

    # FSDP2 cuts every parameter along its first dimension.
    return distribute_tensor(tensor.to(example.to_local().device), example.device_mesh, example.placements, src_data_rank=None)
