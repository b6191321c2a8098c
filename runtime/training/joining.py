"""How the processes of a run come together."""

from __future__ import annotations

from typing import Any

from runtime.config.wishes import fsdp_option, offloads
from runtime.model.network import go_offline_if_alone
from runtime.training.job import Surroundings
from runtime.training.processes import WAIT_S, Rank
from runtime.training.progress import Progress
from runtime.training.quiet import quiet_libraries


def join(config: Any, surroundings: Surroundings, rank: Rank, progress: Progress) -> None:
    """Meet the other processes of the run, if there are any, before anything can fail on one of them alone."""
    if rank.world_size == 1:
        return
    ready_libraries(config, surroundings, progress)
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        # Whoever called has met them already.
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank.local)
    # Shards that wait in host memory are exchanged there too.
    on_host = fsdp_option(config) is not None and offloads(config)
    wait_s = config.ddp_timeout or WAIT_S
    dist.init_process_group(("cpu:gloo,cuda:nccl" if on_host else "nccl") if cuda else "gloo", timeout=timedelta(seconds=wait_s))


def ready_libraries(config: Any, surroundings: Surroundings, progress: Progress) -> None:
    """What has to be settled before the training libraries are imported."""
    if go_offline_if_alone(config):
        progress.say("the Hugging Face Hub cannot be reached: only what is in its cache here is used")
    quiet_libraries(debug=surroundings.debug)
