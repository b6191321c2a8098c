"""The loss of every optimizer step, kept on the device until there is a reason to read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What one optimizer step did. `loss` is the mean over the step's supervised tokens of all processes, `tokens` the tokens all of them read in it."""

    step: int
    epoch: float
    loss: float
    grad_norm: float | None
    learning_rate: float
    tokens: int
    tokens_per_s: float
    memory_gib: float


@dataclass(slots=True)
class _Pending:
    step: int
    epoch: float
    loss: torch.Tensor
    grad_norm: torch.Tensor
    tokens: torch.Tensor
    learning_rate: float


class LossLedger:
    """Collects a step's micro batches, closes steps, and reads closed steps in one transfer.

    `reduce` combines a tensor over all processes (`mean` or `sum`); `clock` is monotonic seconds; `memory_gib` tells the peak so far.
    Reading the scalars only at `flush` keeps the device busy: a read waits for everything queued before it.
    """

    def __init__(
        self,
        *,
        reduce: Callable[[torch.Tensor, str], torch.Tensor],
        memory_gib: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reduce = reduce
        self._memory_gib = memory_gib
        self._clock = clock
        self._open_loss: torch.Tensor | None = None
        self._open_tokens: torch.Tensor | None = None
        self._pending: list[_Pending] = []
        self._since = clock()

    @property
    def has_open(self) -> bool:
        """Whether micro batches were added since the last step was closed."""
        return self._open_loss is not None

    def add(self, loss: torch.Tensor, tokens: torch.Tensor) -> None:
        """Count one micro batch: its share of the step's loss, already scaled for accumulation, and how many tokens it has."""
        import torch

        loss = loss.detach().to(torch.float64) if loss.device.type == "cpu" else loss.detach().float()
        self._open_loss = loss if self._open_loss is None else self._open_loss + loss
        self._open_tokens = tokens if self._open_tokens is None else self._open_tokens + tokens

    def close(self, *, step: int, epoch: float, grad_norm: Any, learning_rate: float) -> None:
        """End optimizer step `step`; nothing is read from the device yet."""
        import torch

        assert self._open_loss is not None
        assert self._open_tokens is not None
        norm = torch.as_tensor(float("nan") if grad_norm is None else grad_norm, device=self._open_loss.device).detach()
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        self._pending.append(_Pending(step, epoch, self._open_loss, norm, self._open_tokens, learning_rate))
        self._open_loss = self._open_tokens = None

    def discard_open(self) -> None:
        """Forget micro batches of a step that never ended."""
        self._open_loss = self._open_tokens = None

    def pause(self) -> Callable[[], None]:
        """A function that, called later, takes the time in between (an evaluation, a save) out of the speed."""
        started = self._clock()

        def resume() -> None:
            self._since += self._clock() - started

        return resume

    def flush(self) -> list[StepRecord]:
        """Every closed step not read before, in order. All processes must flush at the same step."""
        import torch

        if not self._pending:
            return []
        dtype = self._pending[0].loss.dtype
        losses = self._reduce(torch.stack([pending.loss.to(dtype) for pending in self._pending]), "mean").tolist()
        tokens = self._reduce(torch.stack([pending.tokens for pending in self._pending]).to(torch.int64), "sum").tolist()
        norms = torch.stack([pending.grad_norm.to(torch.float32) for pending in self._pending]).tolist()
        now = self._clock()
        speed = sum(tokens) / max(now - self._since, 1e-9)
        self._since = now
        memory = round(self._memory_gib(), 3)
        records = [
            StepRecord(
                step=pending.step,
                epoch=round(pending.epoch, 6),
                loss=loss,
                grad_norm=None if norm != norm else norm,
                learning_rate=pending.learning_rate,
                tokens=int(count),
                tokens_per_s=round(speed, 1),
                memory_gib=memory,
            )
            for pending, loss, norm, count in zip(self._pending, losses, norms, tokens, strict=True)
        ]
        self._pending.clear()
        return records


def count_tokens(inputs: dict[str, Any], pad_token_id: int | None) -> torch.Tensor:
    """How many tokens of a batch are not padding. Packed rows have no mask: there, padding is what has the pad token and is not learnt."""
    import torch

    mask = inputs.get("attention_mask")
    if mask is not None and mask.dim() == 2:
        return mask.sum()
    ids, labels = inputs["input_ids"], inputs.get("labels")
    if pad_token_id is None or labels is None:
        return torch.tensor(ids.numel(), device=ids.device)
    return ((ids != pad_token_id) | (labels != -100)).sum()
