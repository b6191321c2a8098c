"""How many optimizer steps a run takes, what each of them sees, and how often it evaluates and saves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.estimate.range import Range, exactly
from launcher.estimate.rows import DataSize
from runtime.config.beat import steps_between

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

# Room of packed rows that tokens fill: 0.95 to 0.99 where samples are short against the row, less where they are about as long.
PACKING = (0.85, 0.96, 0.995)
# Share of an unpacked micro batch that is no padding, by how lengths scatter.
UNPADDED = (0.45, 0.7, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Optimizer steps of a run; `tokens_per_step` is what the model computes, padding included; `tokens` what of it is text over the whole run.

    `save_steps` are the recipe's steps between two checkpoints, 0 where no number of steps decides.
    """

    steps: int
    low: int
    high: int
    epochs: float
    tokens_per_step: Range
    tokens: Range
    evaluations: int
    save_steps: int
    known: bool


def steps_of(config: TrainingConfig, data: DataSize, *, processes: int) -> Steps:
    """The steps of a recipe over `data` on so many processes. Without a known size only `max_steps` tells them; `known` is off otherwise."""
    micro = int(config.micro_batch_size or 1)
    accumulation = max(1, int(config.batch_size) // micro) if config.batch_size else int(config.gradient_accumulation_steps or 1)
    rows_per_step = micro * accumulation * processes
    length = int(config.sequence_len)
    packed = bool(config.sample_packing)
    if packed and data.packed_rows is not None:
        counts = [float(data.packed_rows)] * 3
        per_row = exactly(length)
        text_share = PACKING
    elif packed:
        counts = [data.tokens.low / PACKING[2] / length, data.tokens.value / PACKING[1] / length, data.tokens.high / PACKING[0] / length]
        per_row = Range(value=length, low=length * PACKING[0], high=length)
        text_share = PACKING
    elif config.pad_to_sequence_len:
        counts = [data.rows.low, data.rows.value, data.rows.high]
        per_row = Range(value=length, low=length, high=length)
        share = min(1.0, data.mean_tokens / length) if data.known else 0.5
        text_share = (share * 0.8, share, min(1.0, share * 1.3))
    else:
        counts = [data.rows.low, data.rows.value, data.rows.high]
        mean = data.mean_tokens if data.known else length / 2
        scale = data.tokens.value or 1.0
        low, high = mean * (data.tokens.low / scale if data.known else 0.2), mean * (data.tokens.high / scale if data.known else 2.0)
        alone = micro == 1
        per_row = Range(
            value=min(length, mean / (1.0 if alone else UNPADDED[1])),
            low=min(low, length),
            high=min(length, high / (1.0 if alone else UNPADDED[0])),
        )
        text_share = (1.0, 1.0, 1.0) if alone else UNPADDED
    per_epoch = [max(1, math.ceil(math.ceil(max(1.0, count) / (micro * processes)) / accumulation)) for count in counts]
    limit = config.max_steps if config.max_steps and config.max_steps > 0 else None
    totals = [limit or max(1, math.ceil(config.num_epochs * each)) for each in per_epoch]
    if not data.known and limit is None:
        totals = [0, 0, 0]
    per_step = per_row.times(rows_per_step)
    middle = totals[1]
    if data.exact:
        tokens = exactly(data.tokens.value * middle / per_epoch[1])
    else:
        tokens = Range(
            value=per_step.value * middle * text_share[1],
            low=min(per_step.low * totals[0] * text_share[0], per_step.value * middle * text_share[1]),
            high=max(per_step.high * totals[2] * text_share[2], per_step.value * middle * text_share[1]),
        )
    evaluates = bool(config.val_set_size or config.test_datasets)
    every_save = (
        0
        if config.save_strategy == "best"
        else steps_between(config.save_steps, config.saves_per_epoch, config.save_strategy, total=middle, steps_per_epoch=per_epoch[1])
    )
    every_evaluation = (
        steps_between(config.eval_steps, config.evals_per_epoch, config.eval_strategy, total=middle, steps_per_epoch=per_epoch[1])
        if evaluates
        else 0
    )
    return Steps(
        steps=middle,
        low=min(totals),
        high=max(totals),
        epochs=middle / per_epoch[1],
        tokens_per_step=per_step,
        tokens=tokens,
        # The last step evaluates whatever the beat.
        evaluations=math.ceil(middle / every_evaluation)
        if every_evaluation and middle
        else int(evaluates and config.eval_strategy != "no"),
        save_steps=every_save,
        known=data.known or limit is not None,
    )
