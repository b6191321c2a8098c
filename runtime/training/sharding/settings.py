"""How a recipe spreads weights, gradients and optimizer over the processes of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime.config.problem import Problem, UserError
from runtime.config.wishes import fsdp_option, fsdp_reshards, fsdp_state_dict_type, offloads

_LAYERS = "TRANSFORMER_BASED_WRAP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """`shards` processes hold one copy of the training state between them, and there are `replicas` of it. `plugin` is what accelerate is told,
    `computes` the number format of gathered weights where the recipe names one. With `all_write` every process writes its share of a checkpoint,
    otherwise the first one writes all of it."""

    plugin: dict[str, Any]
    shards: int
    replicas: int = 1
    pinned: bool = True
    computes: str | None = None
    all_write: bool = True

    @property
    def offloaded(self) -> bool:
        """Whether the shards wait in host memory."""
        return bool(self.plugin.get("cpu_offload"))


def sharding_of(config: Any, *, world_size: int) -> Sharding | None:
    """How `world_size` processes share the training state; None where nothing is asked for, or one process has nobody to share with.

    Raises UserError when the recipe's sizes do not make the processes, or one process is asked to keep its shards in host memory.
    """
    if fsdp_option(config) is None:
        return None
    if world_size == 1:
        if offloads(config):
            raise UserError(
                Problem(
                    code="unsupported",
                    path="fsdp_config.offload_params",
                    message="shards wait in host memory under FSDP, which this run of one process does not use",
                    fix="take two GPUs or more; on one, `adapter: lora` or `qlora` needs the least memory",
                )
            )
        return None
    replicas, shards = _sizes(config, world_size)
    wanted = config.fsdp_config
    plugin: dict[str, Any] = {
        "fsdp_version": 2,
        "reshard_after_forward": fsdp_reshards(config),
        "cpu_offload": offloads(config),
        "auto_wrap_policy": _LAYERS,
        "cpu_ram_efficient_loading": False,
        # Checkpoints are written here; accelerate's own form pickles.
        "state_dict_type": "FULL_STATE_DICT",
    }
    pinned, computes = True, None
    if wanted is not None:
        plugin["auto_wrap_policy"] = wanted.auto_wrap_policy or _LAYERS
        plugin["cpu_ram_efficient_loading"] = bool(wanted.cpu_ram_efficient_loading)
        if wanted.transformer_layer_cls_to_wrap:
            plugin["transformer_cls_names_to_wrap"] = [name.strip() for name in wanted.transformer_layer_cls_to_wrap.split(",")]
        pinned, computes = wanted.cpu_offload_pin_memory is not False, wanted.mixed_precision_policy
    return Sharding(
        plugin=plugin,
        shards=shards,
        replicas=replicas,
        pinned=pinned,
        computes=computes,
        all_write=fsdp_state_dict_type(config) != "FULL_STATE_DICT",
    )


def _sizes(config: Any, world_size: int) -> tuple[int, int]:
    """(replicas, shards): one that is not said takes what the other leaves."""
    replicas, shards = config.dp_replicate_size, config.dp_shard_size
    if replicas is None:
        replicas = world_size // shards if shards else 1
    if shards is None:
        shards = max(1, world_size // replicas)
    if replicas * shards != world_size:
        said = " × ".join(f"{name} ({getattr(config, name)})" for name in ("dp_replicate_size", "dp_shard_size") if getattr(config, name))
        raise UserError(
            Problem(
                code="out-of-range",
                path="dp_shard_size" if config.dp_shard_size else "dp_replicate_size",
                message=f"{said} does not make the {world_size} processes of this run",
                fix="leave out one of them, or choose sizes whose product is the number of processes",
            )
        )
    if shards == 1:
        raise UserError(
            Problem(
                code="conflict",
                path="dp_shard_size" if config.dp_shard_size else "dp_replicate_size",
                message=f"each of the {world_size} processes would hold a whole copy, so nothing is sharded",
                fix="remove fsdp_config, or let dp_shard_size be 2 or more",
            )
        )
    return replicas, shards
