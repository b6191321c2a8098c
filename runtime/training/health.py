"""Whether training still makes sense: losses that are no numbers, losses that stay too high, and metrics that stop improving."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.training.ledger import StepRecord


@dataclass(slots=True)
class LossWatch:
    """Raises UserError (exit 5) once a loss is not finite, or is above `threshold` for `patience` steps in a row."""

    threshold: float | None = None
    patience: int = 3
    high_in_a_row: int = 0

    def see(self, records: Iterable[StepRecord]) -> None:
        """Look at finished steps, in order."""
        for record in records:
            if not math.isfinite(record.loss):
                raise _failed(
                    "loss-not-finite",
                    f"the loss of step {record.step} is {record.loss}; nothing after the last sealed checkpoint was kept",
                    "lower the learning rate, add warmup_steps, set max_grad_norm: 1.0, or prefer bf16 to fp16",
                )
            if self.threshold is None:
                continue
            self.high_in_a_row = self.high_in_a_row + 1 if record.loss > self.threshold else 0
            if self.high_in_a_row >= self.patience:
                raise _failed(
                    "loss-too-high",
                    f"the loss stayed above loss_watchdog_threshold ({self.threshold:g}) for {self.patience} steps, {record.loss:.4g} at step {record.step}",
                    "lower the learning rate, or raise the threshold",
                )


@dataclass(slots=True)
class Improvement:
    """Stops after `patience` evaluations in a row that were not the best so far; None never stops."""

    patience: int | None = None
    without: int = 0

    def see(self, is_best: bool) -> bool:
        """Whether to stop after this evaluation."""
        self.without = 0 if is_best else self.without + 1
        return self.patience is not None and self.without >= self.patience


@dataclass(frozen=True, slots=True)
class Sweep:
    """Collects garbage every `every` steps; -1 before evaluations and at the end of epochs, 0 never. `python` is the same for Python's garbage alone,
    which leaves the allocator's unused GPU memory where it is."""

    every: int = 0
    python: int = 0

    def after_step(self, step: int, *, evaluates: bool, epoch_ends: bool) -> None:
        """Collect, if this is the moment."""
        boundary = evaluates or epoch_ends
        if _is_due(self.every, step, boundary=boundary):
            _collect(device=True)
        elif _is_due(self.python, step, boundary=boundary):
            _collect(device=False)


def _is_due(every: int, step: int, *, boundary: bool) -> bool:
    return (every > 0 and step % every == 0) or (every == -1 and boundary)


def _collect(*, device: bool) -> None:
    import gc

    import torch

    gc.collect()
    if device and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _failed(code: str, message: str, fix: str) -> UserError:
    return UserError(Problem(code=code, message=message, fix=fix), exit_code=ExitCode.TRAINING_FAILED)
