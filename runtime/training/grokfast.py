"""Grokfast: the slow part of each parameter's gradient is made stronger before the optimizer steps.

Lee et al., Grokfast: Accelerated Grokking by Amplifying Slow Gradients (2024, arXiv:2405.20233), the variant with an exponential mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from runtime.config.problem import Problem, UserError

FILE = "grokfast.safetensors"
_ALPHA, _LAMB = 0.98, 2.0  # the paper's choice for its small transformers, and the public tool's defaults


class Grokfast(TrainerCallback):
    """Keeps the exponential mean of every gradient with memory `alpha`, and adds `lamb` times it. The means are part of a checkpoint.

    They take as much memory as the gradients. The gradient arrives clipped, and is not clipped again.
    """

    def __init__(self, *, alpha: float, lamb: float) -> None:
        self._alpha, self._lamb = alpha, lamb
        self._means: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the Trainer's signature
        """Strengthen the slow part of the gradients that the optimizer is about to take."""
        for name, parameter in kwargs["model"].named_parameters():
            gradient = parameter.grad
            if gradient is None:
                continue
            mean = self._means.get(name)
            # The first gradient is the mean of what there is so far.
            mean = gradient.clone() if mean is None else mean.to(gradient.device).mul_(self._alpha).add_(gradient, alpha=1 - self._alpha)
            self._means[name] = mean
            gradient.add_(mean, alpha=self._lamb)

    def keep(self, folder: Path) -> None:
        """Write the means into a checkpoint."""
        save_file({name: mean.contiguous() for name, mean in self._means.items()}, folder / FILE)

    def take_up(self, folder: Path) -> None:
        """Go on with the means of a checkpoint. Raises UserError when it has none."""
        file = folder / FILE
        if not file.is_file():
            raise UserError(
                Problem(
                    code="missing-file",
                    path="grokfast_alpha",
                    place=str(folder),
                    message="this checkpoint was made without Grokfast, so there is no mean of its gradients to go on with",
                    fix="remove grokfast_alpha and grokfast_lamb, or start anew in another output_dir",
                )
            )
        self._means = load_file(file)


def grokfast_of(config: Any) -> Grokfast | None:
    """The filter that the recipe asks for, None when it asks for none."""
    alpha, lamb = config.grokfast_alpha, config.grokfast_lamb
    if alpha is None and lamb is None:
        return None
    return Grokfast(alpha=_ALPHA if alpha is None else alpha, lamb=_LAMB if lamb is None else lamb)
