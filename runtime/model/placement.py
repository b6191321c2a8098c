"""Where a model's layers go while it loads, and how much of each GPU they may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """`device_map` and `max_memory` as transformers takes them; both None loads on the host. `limited` says that only GPUs may hold layers."""

    device_map: Any = None
    max_memory: dict[int | str, int | str] | None = None
    limited: bool = False

    @classmethod
    def on(cls, device: str) -> Placement:
        """Everything on one device; the CPU needs no map."""
        return cls(device_map={"": device} if device.startswith("cuda") else None)


def placement_of(config: Any, *, device: str, gpus: int, processes: int) -> Placement:
    """Where the model of a recipe loads on a machine with `gpus` GPUs; `device` (`cpu`, `cuda:0`) is this process' own.

    `gpu_memory_limit` lets a single process spread the layers over all GPUs, each filled up to the limit; one of several `processes` keeps to its own
    GPU. Raises UserError when the limit meets a machine without a GPU.
    """
    if config.gpu_memory_limit is None:
        return Placement(device_map=config.device_map or Placement.on(device).device_map, max_memory=config.max_memory)
    if not device.startswith("cuda"):
        raise UserError(
            Problem(
                code="unsupported",
                path="gpu_memory_limit",
                message="a limit for GPUs, and this machine has none",
                fix="remove it, or run on a GPU",
            )
        )
    limit = config.gpu_memory_limit
    size = f"{limit}GiB" if isinstance(limit, int) else str(limit)
    own_index = int(device.rpartition(":")[2])
    indices = range(gpus) if processes == 1 else [own_index]
    return Placement(device_map=config.device_map or "auto", max_memory=dict.fromkeys(indices, size), limited=True)


def check_placed(model: PreTrainedModel, config: Any) -> None:
    """Raise UserError when a limit pushed layers off the GPUs: what lies on the host or a disk cannot be trained."""
    places = {str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()}
    if places & {"cpu", "disk", "meta"}:
        raise UserError(
            Problem(
                code="does-not-fit",
                path="gpu_memory_limit",
                message=f"the model does not fit into {config.gpu_memory_limit} of each GPU: some of its layers were placed on {', '.join(sorted(places & {'cpu', 'disk', 'meta'}))}",
                fix="raise the limit, take more GPUs, or load the base in 4 bit with an adapter",
            )
        )
