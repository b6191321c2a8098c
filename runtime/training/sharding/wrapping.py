"""Having accelerate shard a model, on GPUs and on CPUs, and making sure that it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from runtime.config.problem import Problem, UserError
from runtime.training.sharding.settings import Sharding

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import FullyShardedDataParallelPlugin, ParallelismConfig

_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def mesh_of(sharding: Sharding) -> ParallelismConfig | None:
    """accelerate's description of replicas and shards; None for one replica over all processes, which is its default."""
    if sharding.replicas == 1:
        return None
    from accelerate import ParallelismConfig

    return ParallelismConfig(dp_replicate_size=sharding.replicas, dp_shard_size=sharding.shards)


def complete(plugin: FullyShardedDataParallelPlugin, sharding: Sharding, *, mixed: str) -> None:
    """Tell `plugin` what the Trainer's arguments have no place for; `mixed` is the Trainer's mixed precision, `no` without one."""
    if sharding.offloaded and not sharding.pinned:
        from torch.distributed.fsdp import CPUOffloadPolicy

        plugin.cpu_offload = CPUOffloadPolicy(pin_memory=False)
    name = sharding.computes or mixed
    if name != "no":
        from torch.distributed.fsdp import MixedPrecisionPolicy

        kind = _FORMATS[name]
        # accelerate would have every output cast, the loss too: a loss near 6 is then a multiple of 1/32.
        plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=kind, reduce_dtype=kind, output_dtype=None)


def shard_on_cpu(accelerator: Accelerator, plugin: FullyShardedDataParallelPlugin, mesh: ParallelismConfig | None) -> None:
    """Have processes without GPUs shard as those with GPUs do: accelerate 1.15 knows a kind of run for CPUs, forgets the plugin there and refuses a mesh."""
    from accelerate.utils import DistributedType

    state: Any = accelerator.state
    state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = plugin
    if mesh is not None:
        state.parallelism_config, state.device_mesh = mesh, mesh.get_device_mesh(accelerator.device.type)


def require_sharded(model: nn.Module, sharding: Sharding) -> None:
    """Raise UserError unless every parameter of `model` is really spread over the run's shards: nobody shall pay for a run that is not what was asked for."""
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor
    from torch.distributed.tensor.placement_types import Shard

    def spread(parameter: torch.Tensor) -> bool:
        if not isinstance(parameter, DTensor):
            return False
        sizes = [
            size for size, placement in zip(parameter.device_mesh.shape, parameter.placements, strict=True) if isinstance(placement, Shard)
        ]
        return sizes == [sharding.shards]

    whole = [name for name, parameter in model.named_parameters() if not spread(parameter)]
    if isinstance(model, FSDPModule) and not whole:
        return
    raise UserError(
        Problem(
            code="unsupported",
            path="fsdp_config",
            message="the model was not sharded: " + (f"every process holds all of {whole[0]}" if whole else "nothing gathers its weights"),
            fix="remove fsdp_config to train with a whole copy on each device",
        )
    )
