"""The MLP of each layer, worked through in pieces along the sequence.

At long contexts the widened activations of an MLP are the largest tensors of a layer: sequence length × intermediate size, several of them. They depend
on one token each, so a piece of the sequence can be computed, forgotten, and computed again in the backward pass, where only the activations of one
piece exist at a time. Arctic Long Sequence Training (arXiv 2506.13996) calls this TiledMLP.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    import torch
    from torch import nn


def tile_mlps(model: nn.Module, config: Any) -> int:
    """How many MLPs of `model` now work in `tiled_mlp_num_shards` pieces; 0 when the recipe does not ask for it.

    Unset, there are as many pieces as the sequence is times longer than the model is wide, so that a piece is about square. Outputs and gradients are
    those of the whole MLP up to rounding. Raises UserError when the model has no MLP that can be found: routed experts already work on parts of the tokens.
    """
    if not config.tiled_mlp:
        return 0
    chosen = [module for name, module in model.named_modules() if _is_mlp(name, module)]
    if not chosen:
        raise UserError(
            Problem(
                code="unsupported",
                path="tiled_mlp",
                message="no layer of this model has an MLP that works on one token at a time",
                fix="remove `tiled_mlp`; `gradient_checkpointing: true` saves memory in every model",
            )
        )
    for module in chosen:
        module.forward = _in_pieces(module.forward, config.tiled_mlp_num_shards)
    return len(chosen)


def _is_mlp(name: str, module: nn.Module) -> bool:
    return type(module).__name__.endswith("MLP") and "vision" not in name and any(True for _ in module.parameters())


def _in_pieces(forward: Callable[..., torch.Tensor], shards: int | None) -> Callable[..., torch.Tensor]:
    import torch
    from torch.utils.checkpoint import checkpoint

    @functools.wraps(forward)
    def tiled(hidden: torch.Tensor, *inputs: Any, **named: Any) -> torch.Tensor:
        # Tokens are the last dimension but one, also where a router has flattened rows and batch into one.
        length, width = hidden.shape[-2:]
        pieces = min(shards or -(-length // width), length)
        if pieces <= 1:
            return forward(hidden, *inputs, **named)
        if torch.is_grad_enabled():
            parts = [checkpoint(forward, part, *inputs, use_reentrant=False, **named) for part in hidden.chunk(pieces, dim=-2)]
        else:
            parts = [forward(part, *inputs, **named) for part in hidden.chunk(pieces, dim=-2)]
        return torch.cat(parts, dim=-2)

    return tiled
