"""Tensors of which each process holds a part: writing them whole, one after the other, and reading back only the own part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from runtime.training.sharding.files import File, places, spread, unfit, write_index

if TYPE_CHECKING:
    from runtime.training.processes import Rank

_OTHER_MODEL = "this checkpoint does not fit the model"
# What wrappers of layers add to the names of parameters.
_WRAPPERS = ("_checkpoint_wrapped_module.", "_orig_mod.")


def plain_name(name: str) -> str:
    """The name a parameter has in the model as it was loaded."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def model_tensors(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and saved buffers by their plain names, each once: of tied ones the first name."""
    kept = model.state_dict().keys()
    named: dict[str, torch.Tensor] = dict(model.named_parameters())
    named |= {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return {plain_name(name): tensor for name, tensor in named.items()}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of `tensor`, on every process; of a sharded one every process must call it, and holds it in its accelerator's memory."""
    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor
    # Shards that wait in host memory meet where the processes talk.
    return tensor.to(tensor.device_mesh.device_type).full_tensor()


def wholes(
    tensors: Mapping[str, torch.Tensor], rank: Rank, *, formats: Mapping[str, torch.dtype] | None = None
) -> dict[str, torch.Tensor] | None:
    """All of `tensors`, whole and in host memory, on the process that writes; None on the others. One at a time is whole on each of them.

    `formats` are number formats other than those they have.
    """
    held: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        found = whole(tensor)
        if rank.is_main:
            held[name] = _host(found, (formats or {}).get(name))
    return held if rank.is_main else None


def write(folder: Path, tensors: Mapping[str, torch.Tensor], rank: Rank, *, stem: str, all_write: bool) -> None:
    """Write `tensors` as safetensors files `<stem>-…` and their index. Every process calls it with the same names.

    A process has one file's tensors in host memory at a time, and one whole tensor where it computes. One that cannot write its files raises what its disk
    said at the end: until then the others need its shards.
    """
    writers = rank.world_size if all_write else 1
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    files = spread(sizes, stem=stem, writers=writers)
    refused: Exception | None = None
    for start in range(0, len(files), writers):
        target, own = _round(files[start : start + writers], tensors, rank)
        if target is None or refused is not None:
            continue
        try:
            save_file(own, folder / target, metadata={"format": "pt"})
        except Exception as error:  # noqa: BLE001 - it is raised below
            refused = error
    if refused is not None:
        raise refused
    if rank.is_main:
        write_index(folder, files, stem=stem, total_bytes=sum(sizes.values()))


def read(folder: Path, into: Mapping[str, torch.Tensor], *, stem: str) -> None:
    """Copy what is stored in `folder` into these tensors, of sharded ones the own part, however many processes wrote it.

    Raises UserError when one is missing or has another shape.
    """
    found = places(folder, stem=stem)
    if missing := [name for name in into if name not in found]:
        raise unfit(folder, _OTHER_MODEL, f"it has no {missing[0]}" + (f", nor {len(missing) - 1} others" if len(missing) > 1 else ""))
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}
        for name, tensor in into.items():
            file = found[name]
            if file not in opened:
                opened[file] = stack.enter_context(safe_open(file, framework="pt"))
            # A single number has no slices.
            copy_part(opened[file].get_slice(name) if tensor.dim() else opened[file].get_tensor(name), tensor, name, folder)


def copy_part(stored: Any, tensor: torch.Tensor, name: str, folder: Path) -> None:
    """Copy into `tensor` what this process holds of `stored`: a safetensors slice or a whole tensor."""
    shape = tuple(stored.get_shape()) if hasattr(stored, "get_shape") else tuple(stored.shape)
    if shape != tuple(tensor.shape):
        raise unfit(folder, _OTHER_MODEL, f"its {name} is {_shown(shape)}, and this run's {_shown(tuple(tensor.shape))}")
    with torch.no_grad():
        if isinstance(tensor, DTensor):
            # Of a tensor with fewer rows than there are processes, some hold nothing.
            if tensor.to_local().numel():
                tensor.to_local().copy_(stored[own_part(tensor)])
        else:
            tensor.copy_(stored[...])


def own_part(tensor: DTensor) -> tuple[slice, ...]:
    """The place of this process' part in the whole tensor."""
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))


def _round(files: tuple[File, ...], tensors: Mapping[str, torch.Tensor], rank: Rank) -> tuple[str | None, dict[str, torch.Tensor]]:
    """The file that this process is to write of at most one for each, and what belongs into it: all take part in gathering, then all write at once."""
    own: dict[str, torch.Tensor] = {}
    target: str | None = None
    for file, name in _each(files):
        found = whole(tensors[name])
        if file.writer == rank.index:
            own[name], target = _host(found), file.name
    return target, own


def _each(files: tuple[File, ...]) -> Iterator[tuple[File, str]]:
    return ((file, name) for file in files for name in file.tensors)


def _host(tensor: torch.Tensor, kind: torch.dtype | None = None) -> torch.Tensor:
    return tensor.to(device="cpu", dtype=kind or tensor.dtype, copy=True).contiguous()


def _shown(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape) or "one number"
