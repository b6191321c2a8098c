"""The optimizer's state by the names of its parameters: as safetensors that any number of processes can take up again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from runtime.config.problem import Problem, UserError
from runtime.training.sharding.files import places, unfit
from runtime.training.sharding.tensors import copy_part, plain_name, read, write

if TYPE_CHECKING:
    from runtime.training.processes import Rank

STEM, SETTINGS = "optimizer", "optimizer.json"
_OTHER_STATE = "the optimizer's state in this checkpoint does not fit"
# No parameter's name has one.
_BETWEEN = ":"


def is_stored(folder: Path) -> bool:
    """Whether a checkpoint holds an optimizer's state in this form."""
    return (folder / SETTINGS).is_file()


def write_optimizer(optimizer: Any, model: nn.Module, folder: Path, rank: Rank, *, all_write: bool) -> None:
    """Write the state of `optimizer`, every tensor whole, in files that the processes share out, and the settings of its groups. Every process calls it.

    Raises UserError for a state that is neither tensors nor plain values.
    """
    optimizer, names = _bare(optimizer), _names(model)
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for name, parameter in _parameters(optimizer, names):
        for key, value in optimizer.state.get(parameter, {}).items():
            if (
                isinstance(value, DTensor | torch.Tensor)
                and type(value.to_local() if isinstance(value, DTensor) else value) is torch.Tensor
            ):
                tensors[key + _BETWEEN + name] = value
            elif value is None or isinstance(value, bool | int | float | str):
                values.setdefault(name, {})[key] = value
            else:
                raise UserError(
                    Problem(
                        code="unsupported",
                        path="optimizer",
                        message=f"the state of this optimizer ({key}) cannot be kept in a sharded checkpoint",
                        fix="write `optimizer: adamw_torch_fused`",
                    )
                )
    write(folder, tensors, rank, stem=STEM, all_write=all_write)
    if rank.is_main:
        groups = [
            {key: value for key, value in group.items() if key != "params"} | {"parameters": [names[id(one)] for one in group["params"]]}
            for group in optimizer.param_groups
        ]
        (folder / SETTINGS).write_text(json.dumps({"groups": groups, "values": values}, indent=1), encoding="utf-8")


def read_optimizer(optimizer: Any, model: nn.Module, folder: Path) -> None:
    """Take up the state stored in `folder`, in this form or in a plain run's `optimizer.pt`. Raises UserError where it does not fit."""
    optimizer, names = _bare(optimizer), _names(model)
    if is_stored(folder):
        groups, state = _of_files(optimizer, names, folder)
    else:
        groups, state = _of_plain(optimizer, names, folder)
    order = {id(parameter): index for index, (_, parameter) in enumerate(_parameters(optimizer, names))}
    mine = [
        _as_before(group, kept) | {"params": [order[id(one)] for one in group["params"]]}
        for group, kept in zip(optimizer.param_groups, groups, strict=True)
    ]
    # The optimizer itself knows where each value has to lie, and in which format.
    optimizer.load_state_dict({"state": {order[key]: value for key, value in state.items()}, "param_groups": mine})


def _of_files(optimizer: Any, names: Mapping[int, str], folder: Path) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    """(settings of the groups, state by the `id` of the parameter)."""
    said = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    here = [[names[id(one)] for one in group["params"]] for group in optimizer.param_groups]
    if here != [group["parameters"] for group in said["groups"]]:
        raise unfit(folder, _OTHER_STATE, "its groups of parameters are others")
    found = places(folder, stem=STEM)
    keys: dict[str, list[str]] = {}
    for stored in found:
        key, _, name = stored.partition(_BETWEEN)
        keys.setdefault(name, []).append(key)
    state: dict[int, dict[str, Any]] = {}
    wanted: dict[str, torch.Tensor] = {}
    shapes = _shapes(found)
    for name, parameter in _parameters(optimizer, names):
        kept: dict[str, Any] = dict(said["values"].get(name, {}))
        for key in keys.get(name, []):
            stored = key + _BETWEEN + name
            kept[key] = wanted[stored] = _room(parameter, *shapes[stored])
        if kept:
            state[id(parameter)] = kept
    read(folder, wanted, stem=STEM)
    return [{key: value for key, value in group.items() if key != "parameters"} for group in said["groups"]], state


def _of_plain(optimizer: Any, names: Mapping[int, str], folder: Path) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    said = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True, mmap=True)
    here = list(_parameters(optimizer, names))
    if [len(group["params"]) for group in optimizer.param_groups] != [len(group["params"]) for group in said["param_groups"]]:
        raise unfit(folder, _OTHER_STATE, "its groups of parameters are others")
    state: dict[int, dict[str, Any]] = {}
    for index, (name, parameter) in zip((one for group in said["param_groups"] for one in group["params"]), here, strict=True):
        kept: dict[str, Any] = {}
        for key, value in said["state"].get(index, {}).items():
            kept[key] = value
            if isinstance(value, torch.Tensor):
                kept[key] = _room(parameter, tuple(value.shape), value.dtype)
                copy_part(value, kept[key], f"{key} of {name}", folder)
        if kept:
            state[id(parameter)] = kept
    return [{key: value for key, value in group.items() if key != "params"} for group in said["param_groups"]], state


def _room(parameter: torch.Tensor, shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
    """Where a stored value of this shape goes: spread as `parameter` is where it has its shape."""
    if isinstance(parameter, DTensor) and shape == tuple(parameter.shape) and shape:
        return torch.empty_like(parameter, dtype=kind, requires_grad=False)
    return torch.empty(shape, dtype=kind)


def _shapes(found: Mapping[str, Path]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    from safetensors import safe_open

    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    for file in sorted(set(found.values())):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                part = opened.get_slice(name)
                shapes[name] = (tuple(part.get_shape()), _FORMATS[part.get_dtype()])
    return shapes


_FORMATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def _as_before(group: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `group` with the values that were kept; JSON knows lists alone."""
    return {
        key: tuple(kept[key]) if isinstance(value, tuple) and isinstance(kept.get(key), list) else kept.get(key, value)
        for key, value in group.items()
        if key != "params"
    } | {key: value for key, value in kept.items() if key not in group}


def _parameters(optimizer: Any, names: Mapping[int, str]) -> Iterator[tuple[str, Any]]:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            yield names[id(parameter)], parameter


def _names(model: nn.Module) -> dict[int, str]:
    return {id(parameter): plain_name(name) for name, parameter in model.named_parameters()}


def _bare(optimizer: Any) -> Any:
    """The optimizer inside accelerate's wrapper."""
    return getattr(optimizer, "optimizer", optimizer)
