"""Parameters of which only some rows train: the others keep their numbers to the last bit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

_RANGE = re.compile(r"\[(\d*):(\d*)\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """The names a pattern matches, and the rows it means: `start` up to, not including, `stop`; all of them without a range."""

    names: re.Pattern[str]
    start: int | None = None
    stop: int | None = None

    @property
    def whole(self) -> bool:
        """Whether every row is meant."""
        return self.start is None and self.stop is None


def read_pattern(text: str) -> Pattern:
    """A regular expression with an optional range of rows at its end, `model.embed_tokens.weight$[:32000]`. Raises re.error."""
    found = _RANGE.search(text)
    if found is None:
        return Pattern(names=re.compile(text))
    start, stop = (int(edge) if edge else None for edge in found.groups())
    return Pattern(names=re.compile(text[: found.start()]), start=start or 0, stop=stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRows:
    """The rows of `parameter` that stay: their indices, and their numbers as they were."""

    name: str
    parameter: nn.Parameter
    indices: torch.Tensor
    kept: torch.Tensor

    def restore(self) -> None:
        """Put the rows back: weight decay moves a row whose gradient is zero, and so do some optimizers."""
        self.parameter.data[self.indices.to(self.parameter.device)] = self.kept.to(self.parameter.device)


def freeze_rows(name: str, parameter: nn.Parameter, trained: Iterable[tuple[int, int | None]]) -> FrozenRows | None:
    """Leave only the rows in the ranges `trained` to training; None when that is all of them.

    The gradients of the others are zero from here on, so that they count neither in the gradient's norm nor in an optimizer's averages.
    """
    import torch

    frozen = torch.ones(parameter.shape[0], dtype=torch.bool)
    for start, stop in trained:
        frozen[start:stop] = False
    if not frozen.any():
        return None
    indices = frozen.nonzero().flatten()

    def masked(gradient: torch.Tensor) -> torch.Tensor:
        return gradient.index_fill(0, indices.to(gradient.device), 0)

    parameter.register_hook(masked)
    return FrozenRows(name=name, parameter=parameter, indices=indices, kept=parameter.detach()[indices.to(parameter.device)].clone())


def hold(optimizer: torch.optim.Optimizer, rows: Iterable[FrozenRows]) -> None:
    """Restore `rows` after every step of `optimizer`."""
    held = tuple(rows)
    if not held:
        return

    def after_step(*_: Any) -> None:
        for part in held:
            part.restore()

    optimizer.register_step_post_hook(after_step)
