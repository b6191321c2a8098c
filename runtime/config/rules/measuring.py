"""Rules about answers to single prompts, and about parts and lengths of the data."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig


def answers_unpacked(config: TrainingConfig) -> Iterator[Finding]:
    """Answers are generated to prompts that stand in rows of their own."""
    packed = config.eval_sample_packing if config.eval_sample_packing is not None else config.sample_packing
    for name in ("eval_table_size", "do_causal_lm_eval"):
        if given(config, name) and packed:
            message = f"'{name}' generates answers to single prompts, and the evaluation data are packed"
            yield Finding(
                code="conflict",
                path=(name,),
                involves=("eval_sample_packing", "sample_packing"),
                message=message,
                fix="Write `eval_sample_packing: false`.",
            )


def part_of_data_exists(config: TrainingConfig) -> Iterator[Finding]:
    """The chosen part is one of the parts."""
    number, index = config.dataset_shard_num, config.dataset_shard_idx
    if number is not None and index is not None and index >= number:
        message = f"dataset_shard_idx must be below dataset_shard_num ({number}), found {index}"
        yield Finding(
            code="out-of-range",
            path=("dataset_shard_idx",),
            involves=("dataset_shard_num",),
            message=message,
            fix="Parts are counted from 0.",
        )


def longer_context_taught(config: TrainingConfig) -> Iterator[Finding]:
    """PoSE spreads the positions of short rows over a longer context."""
    if config.use_pose and config.pose_max_context_len and config.pose_max_context_len <= config.sequence_len:
        message = f"pose_max_context_len ({config.pose_max_context_len}) is not above sequence_len ({config.sequence_len}): no position is skipped"
        yield Finding(code="conflict", path=("pose_max_context_len",), involves=("sequence_len",), message=message, fix="Raise it.")


RULES = (answers_unpacked, part_of_data_exists, longer_context_taught)
