"""When a run logs, evaluates and saves, in optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from runtime.config.beat import steps_between


@dataclass(frozen=True, slots=True, kw_only=True)
class Cadence:
    """`total_steps` optimizer steps, `steps_per_epoch` of them an epoch; evaluation and saving every so many steps, 0 for never on a beat.

    `timed_saves`: the clock decides when to save, and nothing else. `save_best` saves whenever an evaluation is the best so far. The last step is
    evaluated and saved whatever the beat. `lowered`: the micro batch is smaller than the recipe's, because that one did not fit.
    `counted_for`: the processes that the steps were counted for, those the run began with. `length_group`: how many rows are shuffled together where
    they are grouped by length; 0 for as many as one process sees in a step.
    """

    total_steps: int
    steps_per_epoch: int
    logging_steps: int
    eval_steps: int
    save_steps: int
    save_best: bool
    save_first: bool
    timed_saves: bool = False
    micro_batch_size: int
    gradient_accumulation_steps: int
    lowered: bool = False
    counted_for: int = 1
    length_group: int = 0

    @property
    def epochs(self) -> float:
        """How often the data is passed over; a fraction when `max_steps` or `num_epochs` ends inside an epoch."""
        return self.total_steps / self.steps_per_epoch

    @property
    def saves_last(self) -> bool:
        """Whether a checkpoint is due after the last step."""
        return self.save_steps > 0 or self.timed_saves

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is due after optimizer step `step`."""
        return (self.save_steps > 0 and step % self.save_steps == 0) or (self.save_first and step == 1)


def cadence_of(config: Any, *, rows: int, world_size: int, evaluates: bool, timed_saves: bool = False) -> Cadence:
    """The beat of a run over `rows` training rows on `world_size` processes.

    Epochs are counted as the Trainer counts them: micro batches a process, rounded up, in groups of the accumulation steps, rounded up (with
    `dataloader_drop_last`, incomplete micro batches fall away). `batch_size`, when set, wins over `gradient_accumulation_steps`: it is what one process
    sees between two optimizer steps. Per-epoch counts and fractions of the whole run are turned into steps, at least 1. With `timed_saves` no step is
    saved for its number.
    """
    micro = config.micro_batch_size or 1
    accumulation = max(1, config.batch_size // micro) if config.batch_size else config.gradient_accumulation_steps or 1
    whole = rows // (micro * world_size)
    batches = whole if config.dataloader_drop_last else math.ceil(rows / (micro * world_size))
    steps_per_epoch = max(1, math.ceil(batches / accumulation))
    total = config.max_steps if config.max_steps and config.max_steps > 0 else max(1, math.ceil(config.num_epochs * steps_per_epoch))
    return Cadence(
        total_steps=total,
        steps_per_epoch=steps_per_epoch,
        logging_steps=config.logging_steps or max(min(int(0.005 * total), 10), 1),
        eval_steps=steps_between(
            config.eval_steps, config.evals_per_epoch, config.eval_strategy, total=total, steps_per_epoch=steps_per_epoch
        )
        if evaluates
        else 0,
        save_steps=0
        if timed_saves or config.save_strategy == "best"
        else steps_between(config.save_steps, config.saves_per_epoch, config.save_strategy, total=total, steps_per_epoch=steps_per_epoch),
        save_best=evaluates and (config.save_strategy == "best" or bool(config.load_best_model_at_end)),
        save_first=bool(config.save_first_step),
        timed_saves=timed_saves,
        micro_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        counted_for=world_size,
    )


def smaller_micro_batches(cadence: Cadence, *, rows: int, world_size: int, drop_last: bool) -> Iterator[Cadence]:
    """`cadence` with ever smaller micro batches and as many more of them in a step: the same rows in the same steps. Micro batches are divisors of its own.

    With `drop_last`, those of which an epoch over `rows` rows would have more steps are left out.
    """
    micro, accumulation = cadence.micro_batch_size, cadence.gradient_accumulation_steps
    for smaller in range(micro - 1, 0, -1):
        if micro % smaller:
            continue
        made = replace(cadence, micro_batch_size=smaller, gradient_accumulation_steps=accumulation * micro // smaller, lowered=True)
        if not drop_last or max(1, math.ceil(rows // (smaller * world_size) / made.gradient_accumulation_steps)) == cadence.steps_per_epoch:
            yield made
