"""Which loss a run computes, from its recipe, and how it is put into the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from runtime.config.problem import Problem, UserError
from runtime.data.tokens import IGNORED
from runtime.training.losses.cut import CutCrossEntropy, cut_cross_entropy_of
from runtime.training.losses.deferred import DeferredLogits, deferring
from runtime.training.losses.distillation import Distillation
from runtime.training.losses.parts import cost_in_parts
from runtime.training.losses.teacher import TeacherTokens
from runtime.training.losses.tokens import EntropyAdaptive, TokenCost, cross_entropy, dynamic

_PARTS = 8


def loss_of(config: Any) -> RunLoss | None:
    """The recipe's own loss; None for the model's, the mean cross entropy of the supervised tokens. Raises UserError when a package is missing."""
    cost: TokenCost = cross_entropy
    if config.use_dft:
        cost = dynamic
    elif config.use_eaft:
        cost = EntropyAdaptive(
            k=20 if config.eaft_k is None else config.eaft_k, alpha=1.0 if config.eaft_alpha is None else config.eaft_alpha
        )
    elif config.kd_trainer:
        cost = Distillation(
            soft=1.0 if config.kd_alpha is None else config.kd_alpha,
            hard=config.kd_ce_alpha or 0.0,
            beta=config.kd_beta or 0.0,
            normalized=bool(config.kd_normalize_topk),
            temperature=1.0 if config.kd_temperature is None else config.kd_temperature,
            lowest=config.kd_temperature_min,
        )
    cut = cut_cross_entropy_of(config) if config.cut_cross_entropy else None
    parts = (config.chunked_cross_entropy_num_chunks or _PARTS) if config.chunked_cross_entropy else None
    if cost is cross_entropy and cut is None and parts is None:
        return None
    return RunLoss(cost=cost, parts=parts, cut=cut)


@dataclass(slots=True, kw_only=True, eq=False)
class RunLoss:
    """The loss of a run, in the place of the model's own: with the Trainer's count of tokens, what they cost in sum divided by it, else their mean.

    `cost` is what a token costs in training; evaluation always takes the cross entropy, which can be compared between runs. `parts` computes the
    logits of so many parts of the tokens one after the other, `cut` none at all.
    """

    cost: TokenCost
    parts: int | None = None
    cut: CutCrossEntropy | None = None
    _model: nn.Module | None = None
    _teacher: TeacherTokens | None = None
    _called: bool = False

    @contextmanager
    def computing(self, model: nn.Module, *, teacher: TeacherTokens | None = None, progress: float = 0.0) -> Iterator[None]:
        """Within the block, `model` (unwrapped) computes this loss. `teacher` is of the whole batch, `progress` the share of the run that is done.

        Raises UserError for a model that computes its loss by itself.
        """
        inner: Any = model.get_base_model() if hasattr(model, "peft_config") else model
        if isinstance(self.cost, Distillation):
            self.cost.progress = progress
        self._model, self._teacher, self._called = inner, teacher, False
        had, before = "_loss_function" in inner.__dict__, inner.__dict__.get("_loss_function")
        inner.loss_function = self
        try:
            if self.parts is None and self.cut is None:
                yield
            else:
                with deferring(_head(inner)):
                    yield
        finally:
            self._model = self._teacher = None
            if had:
                inner.loss_function = before
            else:
                del inner._loss_function
        if not self._called:
            raise UserError(
                Problem(
                    code="unsupported",
                    message=f"{type(inner).__name__} computes its loss by itself, so the loss of the recipe has no place in it",
                    fix="remove the options of the loss",
                )
            )

    def __call__(
        self,
        logits: torch.Tensor | DeferredLogits,
        labels: torch.Tensor,
        vocab_size: int | None = None,  # noqa: ARG002 - the signature of transformers' losses
        num_items_in_batch: torch.Tensor | int | None = None,
        ignore_index: int = IGNORED,
        shift_labels: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """The loss of a batch, as the model's own would be called. Rows (B, L) of labels or of `shift_labels`, which stand where they are predicted."""
        assert self._model is not None
        self._called = True
        if shift_labels is None:
            shift_labels = functional.pad(labels, (0, 1), value=ignore_index)[..., 1:]
        source = logits.hidden if isinstance(logits, DeferredLogits) else logits
        shift_labels = shift_labels.to(source.device)
        counted = shift_labels != ignore_index
        target_N, source_N = shift_labels[counted], source[counted]
        training = self._model.training
        cost = self.cost if training else cross_entropy
        teacher = self._teacher.shifted().of(counted) if self._teacher is not None and training else None
        if not isinstance(logits, DeferredLogits):
            total = cost(source_N.float(), target_N, teacher).sum()
        elif self.cut is not None:
            total = self.cut.cost(logits, _head(self._model), source_N, target_N)
        else:
            total = cost_in_parts(logits, source_N, target_N, cost, parts=self.parts or 1, teacher=teacher)
        if num_items_in_batch is None:
            return total / len(target_N) if len(target_N) else total * float("nan")
        return total / (num_items_in_batch.to(total.device) if isinstance(num_items_in_batch, torch.Tensor) else num_items_in_batch)


def _head(model: Any) -> nn.Module:
    head = model.get_output_embeddings()
    if head is None:
        raise UserError(
            Problem(
                code="unsupported",
                message=f"{type(model).__name__} has no head of its own that gives its logits",
                fix="remove `chunked_cross_entropy` or `cut_cross_entropy`",
            )
        )
    return head  # type: ignore[no-any-return]
