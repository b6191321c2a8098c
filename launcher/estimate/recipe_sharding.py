"""How a recipe spreads one copy of the training state and one row over the cards it runs on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.estimate.workload import Sharding, ShardingKind
from runtime.config.wishes import fsdp_reshards

if TYPE_CHECKING:
    from launcher.estimate.place import Place
    from runtime.config.schema import TrainingConfig


def context_parallel(config: TrainingConfig, place: Place) -> int:
    """Cards that share one row; 1 where they cannot."""
    return _size(config.context_parallel_size, place)


def tensor_parallel(config: TrainingConfig, place: Place) -> int:
    """Cards that share one layer's matrices; 1 where they cannot."""
    return _size(config.tensor_parallel_size, place)


def readers(config: TrainingConfig, place: Place) -> int:
    """Processes that read rows of their own: those that share a row or a layer read the same."""
    return max(1, place.gpus // (context_parallel(config, place) * tensor_parallel(config, place)))


def sharding_of(config: TrainingConfig, place: Place, assumptions: list[str]) -> Sharding:
    """Over how many cards weights, gradients and optimizer are spread, and what of them is in host memory. Adds to `assumptions` what had to be assumed."""
    if place.device == "cpu":
        return Sharding()
    # An empty section is how recipes write that there is none.
    if config.fsdp or (config.fsdp_config is not None and config.fsdp_config.model_fields_set):
        sharding = _fsdp(config, place)
    elif config.deepspeed:
        sharding = _deepspeed(config.deepspeed, place.gpus // tensor_parallel(config, place), assumptions)
    else:
        return Sharding(kind="ddp", gpus=place.gpus) if place.gpus > 1 else Sharding()
    # On one card nothing is spread: FSDP changes something there only where it keeps the state in host memory.
    return Sharding() if sharding.gpus == 1 and sharding.kind == "fsdp" and not sharding.offload else sharding


def accumulates_whole_gradients(config: TrainingConfig, place: Place) -> bool:
    """Whether every card would hold all gradients whole from one micro batch of a step to the next: FSDP reduces them with the last one unless told."""
    sharding = sharding_of(config, place, [])
    return sharding.kind == "fsdp" and not sharding.syncs_each_batch


def _size(named: int | None, place: Place) -> int:
    size = int(named or 1)
    return size if place.device == "cuda" and size > 0 and place.gpus % size == 0 else 1


def _fsdp(config: TrainingConfig, place: Place) -> Sharding:
    """Sharded over `dp_shard_size` cards and those that share a row, or over all that hold the same part of a layer."""
    fsdp = config.fsdp_config
    whole = place.gpus // tensor_parallel(config, place) // _size(config.dp_replicate_size, place)
    named = config.dp_shard_size
    gpus = min(whole, int(named) * context_parallel(config, place)) if named else whole
    return Sharding(
        kind="fsdp",
        gpus=max(1, gpus),
        offload=bool(fsdp and fsdp.offload_params) or any("offload" in word for word in config.fsdp or ()),
        reshard=fsdp_reshards(config),
        version=config.fsdp_version or (fsdp.fsdp_version if fsdp else None) or 2,
        syncs_each_batch=bool(((config.accelerator_config or {}).get("gradient_accumulation_kwargs") or {}).get("sync_each_batch")),
    )


def _deepspeed(setting: str | dict[str, Any], gpus: int, assumptions: list[str]) -> Sharding:
    settings = setting if isinstance(setting, dict) else _of_file(setting, assumptions)
    zero = settings.get("zero_optimization") or {}
    stage = int(zero.get("stage", 0))
    if not stage:
        return Sharding(kind="ddp", gpus=gpus) if gpus > 1 else Sharding()
    kinds: dict[int, ShardingKind] = {1: "zero1", 2: "zero2", 3: "zero3"}
    states = _in_host_memory(zero, "offload_optimizer")
    return Sharding(
        kind=kinds.get(stage, "zero3"),
        gpus=max(1, gpus),
        offload=stage == 3 and _in_host_memory(zero, "offload_param"),
        offload_states=states,
        live_parameters=_elements(zero.get("stage3_max_live_parameters")),
        bucket=_elements(zero.get("reduce_bucket_size")),
        bucket_by_width=zero.get("reduce_bucket_size") == "auto",
    )


def _in_host_memory(zero: dict[str, Any], part: str) -> bool:
    return (zero.get(part) or {}).get("device") in ("cpu", "nvme")


def _elements(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _of_file(path: str, assumptions: list[str]) -> dict[str, Any]:
    """DeepSpeed's settings from their file; where it is not here, what its name says."""
    try:
        read: dict[str, Any] = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        named = re.search(r"zero_?([123])", path)
        stage = int(named[1]) if named else 2
        assumptions.append(f"DeepSpeed ZeRO stage {stage}, " + ("by the name of its file" if named else "as its file cannot be read here"))
        # The reference's own files: zero3_bf16_cpuoffload_params.json moves the weights alone, …_all.json the optimizer too.
        offload = {"device": "cpu"}
        beside = {"offload_param": offload} if stage == 3 and re.search(r"offload_(all|param)", path) else {}
        if "offload" in path and "offload_param" not in path:
            beside["offload_optimizer"] = offload
        return {"zero_optimization": {"stage": stage} | beside}
    return read if isinstance(read, dict) else {}
