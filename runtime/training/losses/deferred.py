"""Logits that are not computed: what the head would be given, and what the model does to its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from runtime.config.problem import Problem, UserError


class UnknownStepError(UserError, AttributeError):
    """The model does something with its logits that cannot be repeated part by part."""


@dataclass(frozen=True, slots=True)
class Step:
    """One elementwise step on logits: `name` with an operand for `mul` and `div`."""

    name: str
    operand: Any = None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        match self.name:
            case "mul":
                return logits * self.operand
            case "div":
                return logits / self.operand
            case "tanh":
                return torch.tanh(logits)
            case _:
                return logits.to(self.operand)


@dataclass(frozen=True, slots=True)
class DeferredLogits:
    """Stands in a model's forward pass for the logits of `hidden`. Scaling and soft-capping are written down in `steps`, to be repeated later.

    Raises UnknownStepError for anything else a model does with it.
    """

    hidden: torch.Tensor
    head: Callable[[torch.Tensor], torch.Tensor]
    steps: tuple[Step, ...] = field(default=())

    def computed(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """The logits of these hidden states, in the head's own number format."""
        logits_NV = self.head(hidden_ND)
        for step in self.steps:
            logits_NV = step(logits_NV)
        return logits_NV

    def __mul__(self, factor: Any) -> DeferredLogits:
        return self._then("mul", _number(factor))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> DeferredLogits:
        return self._then("div", _number(divisor))

    def tanh(self) -> DeferredLogits:
        return self._then("tanh")

    def float(self) -> DeferredLogits:
        return self._then("to", torch.float32)

    def to(self, kind: Any) -> DeferredLogits:
        # A device is where the head is: nothing to move.
        return self._then("to", kind) if isinstance(kind, torch.dtype) else self

    def contiguous(self) -> DeferredLogits:
        return self

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.tanh, torch.Tensor.tanh) and len(args) == 1 and not kwargs:
            return args[0].tanh()
        # A learnt or stored scale is a tensor, and then it is the tensor that multiplies.
        if function in (torch.mul, torch.Tensor.mul, torch.Tensor.__rmul__, torch.Tensor.__mul__) and len(args) == 2:
            first, second = args
            return first * second if isinstance(first, DeferredLogits) else second * first
        raise _unknown(getattr(function, "__name__", str(function)))

    def __getattr__(self, name: str) -> Any:
        raise _unknown(name)

    def _then(self, name: str, operand: Any = None) -> DeferredLogits:
        return DeferredLogits(self.hidden, self.head, (*self.steps, Step(name, operand)))


@contextmanager
def deferring(head: nn.Module) -> Iterator[None]:
    """Within the block, calling `head` computes nothing and gives DeferredLogits, which know how to call it."""
    had = "forward" in head.__dict__
    original = head.forward

    def deferred(hidden: torch.Tensor) -> DeferredLogits:
        return DeferredLogits(hidden, original)

    head.forward = deferred
    try:
        yield
    finally:
        if had:
            head.forward = original
        else:
            del head.forward


def _number(operand: Any) -> Any:
    if isinstance(operand, (int, float)) or (isinstance(operand, torch.Tensor) and operand.numel() == 1):
        return operand
    raise _unknown(f"an operation with {type(operand).__name__}")


def _unknown(what: str) -> UnknownStepError:
    return UnknownStepError(
        Problem(
            code="unsupported",
            message=f"this model does more with its logits than scaling and soft-capping ({what}), so its loss cannot be computed without all of them",
            fix="remove `chunked_cross_entropy` or `cut_cross_entropy`",
        )
    )
