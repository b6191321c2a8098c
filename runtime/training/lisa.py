"""LISA: a few layers of the model train at a time, others after some steps.

Pan et al., LISA: Layerwise Importance Sampling for Memory-Efficient LLM Fine-Tuning (2024, arXiv:2403.17919): everything outside the list of layers,
embeddings and head above all, trains at every step; of the layers, `lisa_n_layers` drawn anew every `lisa_step_interval` steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from runtime.config.problem import Problem, UserError
from runtime.model.load import seed_of

if TYPE_CHECKING:
    from torch import nn

# Keeps the draws of layers apart from those of the rows' order, which come from the same seed.
_SALT = 7_340_033


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Which layers train when: a function of the seed and the step alone, so that a resumed run goes on with the same ones."""

    layers: int
    at_a_time: int
    interval: int
    seed: int

    def at(self, step: int) -> tuple[int, ...]:
        """The layers that train in the optimizer step after `step` steps, in ascending order."""
        import torch

        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + _SALT * (1 + step // self.interval)) % 2**63)
        return tuple(sorted(torch.randperm(self.layers, generator=generator)[: self.at_a_time].tolist()))


class Lisa(TrainerCallback):
    """Freezes and unfreezes the layers of a model.

    Optimizers pass over a parameter without a gradient: its value, its moments and its weight decay stand still. The moments of a layer whose turn is over
    are dropped, which is where LISA saves its memory; its next turn starts with fresh ones.
    """

    def __init__(self, layers: list[nn.Module], turns: Turns) -> None:
        self._layers = layers
        self._turns = turns
        self._now: tuple[int, ...] | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Have the layers of this step train, and only those."""
        chosen = self._turns.at(state.global_step)
        if chosen == self._now:
            return
        held = kwargs["optimizer"].state
        for number, layer in enumerate(self._layers):
            for parameter in layer.parameters():
                parameter.requires_grad_(number in chosen)
                if number not in chosen:
                    parameter.grad = None
                    held.pop(parameter, None)
        self._now = chosen

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Leave the model as it was found."""
        for layer in self._layers:
            layer.requires_grad_(True)


def lisa_of(config: Any, model: nn.Module) -> Lisa | None:
    """What makes the layers of `model` take turns, None when the recipe does not ask for it.

    Raises UserError when there is no such list of layers, or it is shorter than the number that is to train.
    """
    if not config.lisa_n_layers:
        return None
    layers = _layers(model, config.lisa_layers_attribute or "model.layers")
    if config.lisa_n_layers > len(layers):
        raise UserError(
            Problem(
                code="out-of-range",
                path="lisa_n_layers",
                message=f"{config.lisa_n_layers} layers are to train at a time, and the model has {len(layers)}",
                fix=f"set at most {len(layers)}; a tenth of them is usual",
            )
        )
    return Lisa(layers, Turns(layers=len(layers), at_a_time=config.lisa_n_layers, interval=config.lisa_step_interval, seed=seed_of(config)))


def _layers(model: Any, path: str) -> list[nn.Module]:
    from torch import nn

    found = model
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, nn.ModuleList):
        lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) > 1]
        raise UserError(
            Problem(
                code="unknown-name",
                path="lisa_layers_attribute",
                message=f"{type(model).__name__} has no list of layers at {path!r}",
                fix=f"it has one at {lists[0]!r}" if lists else "choose another way to train this model",
            )
        )
    return list(found)
