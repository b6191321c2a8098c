"""Reading a base in one process, from which the others are sent their shards: host memory holds it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from runtime.training.processes import Rank
    from runtime.training.sharding.settings import Sharding


def reads_base(sharding: Sharding | None, rank: Rank) -> bool:
    """Whether this process reads the weights; the others get memory for them that nothing is written to, and that so takes none."""
    return rank.is_main or sharding is None or not sharding.plugin["cpu_ram_efficient_loading"]


def match_first(model: Any, sharding: Sharding | None, rank: Rank, *, mixed: bool) -> None:
    """Give every process the parameters of the first one, by name and format, before they are sent their values; nothing where each has read them.

    With `mixed` precision the trained ones are wanted in 32 bits, and where there is nothing to convert they are made so at once. Raises UserError for a
    model that cannot be sent.
    """
    if sharding is None or not sharding.plugin["cpu_ram_efficient_loading"]:
        return
    import torch

    saved = model.state_dict().keys()
    said = rank.share({name: parameter.dtype for name, parameter in model.named_parameters()} if rank.is_main else None)
    here = dict(model.named_parameters())
    apart = next((name for name, _ in model.named_buffers() if name in saved), None) or next(iter(said.keys() ^ here.keys()), None)
    if apart is not None:
        raise UserError(
            Problem(
                code="unsupported",
                path="fsdp_config.cpu_ram_efficient_loading",
                message=f"this model cannot be read by one process alone: {apart} is no parameter that all of them have",
                fix="write false; each process then reads the whole model into host memory",
            )
        )
    if rank.is_main:
        return
    for name, parameter in here.items():
        wanted = torch.float32 if mixed and parameter.requires_grad else said[name]
        if parameter.dtype != wanted:
            parameter.data = torch.empty_like(parameter, dtype=wanted)
