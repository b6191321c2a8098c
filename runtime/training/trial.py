"""One micro batch at the longest rows, forward and backward, and what the fullest moment of a step needs by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from runtime.data.longest import longest_rows
from runtime.training.cadence import Cadence
from runtime.training.grokfast import Grokfast
from runtime.training.meter import Bytes, Meter
from runtime.training.optimizers.needs import OptimizerNeeds

if TYPE_CHECKING:
    from runtime.training.trainer import RunTrainer

Batch = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a process needs at the fullest moment of its fullest device, and its room there, both in bytes.

    `phase` is that moment: `training`, `evaluation` or `optimizer`. `rows` and `tokens`, padding included, are those of the batch of it. Where the trial
    did not come to its end, memory ran out, and the need is at least that much.
    """

    peak: int
    room: int
    rows: int
    tokens: int
    phase: str = "training"
    ended: bool = True

    @property
    def share(self) -> float:
        """The part of the room that is needed."""
        return self.peak / max(1, self.room)


def need_of(trainer: RunTrainer, wrapped: nn.Module, cadence: Cadence, optimizer: OptimizerNeeds, meter: Meter) -> Need:
    """What a step with `cadence` needs, tried with the model `wrapped` as it trains; leaves gradients and moves random states.

    The micro batch holds the longest rows of all, so that no real one is larger. From the second micro batch of a step on there are gradients before the
    forward pass, and from the second step on the optimizer's states, which are added to what was measured. An evaluation is tried when its batch has more
    tokens than a training one.
    """
    trained = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    gradients = _sizes(trained)
    later = Counter(optimizer.states)
    if any(isinstance(callback, Grokfast) for callback in trainer.callback_handler.callbacks):
        later += gradients
    held = meter.held()
    batch = _batch(trainer, trainer.train_dataset, cadence.micro_batch_size * max(1, trainer.args.n_gpu))
    items = trainer._get_num_items_in_batch([batch], trainer.args.device)

    def step() -> None:
        if cadence.gradient_accumulation_steps > 1:
            for parameter in trained:
                parameter.grad = torch.zeros_like(parameter)
        trainer.training_step(wrapped, dict(batch), items)

    moments = [_moment(meter, step, later, batch)]
    for parameter in trained:
        parameter.grad = None
    evaluated = _evaluation(trainer, cadence)
    if evaluated is not None and evaluated["input_ids"].numel() > batch["input_ids"].numel():
        from runtime.training.trainer import RunTrainer

        def evaluate() -> None:
            trainer.model.eval()
            # The run's own asks the other processes whether to stop, and one of them may have run out of memory before.
            super(RunTrainer, trainer).prediction_step(trainer.model, dict(evaluated), prediction_loss_only=True)

        moments.append(_moment(meter, evaluate, later, evaluated, phase="evaluation"))
    update = Counter(held) + gradients + later + Counter(optimizer.temporary)
    moments.append((dict(update), optimizer.fits, batch, "optimizer"))
    room = meter.room()
    needs = [
        Need(
            peak=peak.get(device, 0),
            room=free,
            rows=cadence.micro_batch_size if phase != "evaluation" else evaluation_rows(trainer, cadence),
            tokens=tried["input_ids"].numel(),
            phase=phase,
            ended=ended,
        )
        for peak, ended, tried, phase in moments
        for device, free in room.items()
    ]
    return max(needs, key=lambda need: (not need.ended, need.share))


def evaluation_rows(trainer: RunTrainer, cadence: Cadence) -> int:
    """Rows of an evaluation batch: what the recipe says, and no more than a micro batch where that had to be lowered."""
    given = int(trainer.args.per_device_eval_batch_size)
    return min(given, cadence.micro_batch_size) if cadence.lowered else given


def _moment(
    meter: Meter, work: Callable[[], None], later: Counter[str], batch: Batch, phase: str = "training"
) -> tuple[Bytes, bool, Batch, str]:
    reading = meter.reading_of(work)
    return dict(Counter(reading.peak) + later), reading.ended, batch, phase


def _evaluation(trainer: RunTrainer, cadence: Cadence) -> Batch | None:
    if trainer.eval_dataset is None:
        return None
    return _batch(trainer, trainer.eval_dataset, evaluation_rows(trainer, cadence) * max(1, trainer.args.n_gpu))


def _batch(trainer: RunTrainer, rows: Any, count: int) -> Batch:
    """The longest rows as the Trainer's own loader hands them over."""
    kept = trainer._remove_unused_columns(rows, description="training")
    batch: Batch = trainer.data_collator([kept[index] for index in longest_rows(rows, count)])
    return batch


def _sizes(parameters: list[nn.Parameter]) -> Counter[str]:
    found: Counter[str] = Counter()
    for parameter in parameters:
        found[str(parameter.device)] += parameter.numel() * parameter.element_size()
    return found
