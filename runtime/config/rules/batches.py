"""Rules about lengths, packing and batches."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

PACKING_ONLY = ("sample_packing_group_size", "sample_packing_bin_size", "sample_packing_sequentially", "multipack_real_batches")


def shortest_fits(config: TrainingConfig) -> Iterator[Finding]:
    """Some row can be long enough and short enough."""
    if config.min_sample_len is not None and config.min_sample_len > config.sequence_len:
        message = f"min_sample_len ({config.min_sample_len}) is above sequence_len ({config.sequence_len}): no row can be kept"
        yield Finding(code="conflict", path=("min_sample_len",), involves=("sequence_len",), message=message, fix="Lower it.")


def packing_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of packing have packing."""
    if not config.sample_packing:
        for name in PACKING_ONLY:
            if given(config, name):
                yield Finding(
                    code="conflict",
                    path=(name,),
                    involves=("sample_packing",),
                    message=f"'{name}' has no effect without `sample_packing: true`",
                    fix="Remove it.",
                    warning=True,
                )


def packed_rows_are_full(config: TrainingConfig) -> Iterator[Finding]:
    """Packing without padding to one length makes every step's memory differ."""
    if config.sample_packing and config.pad_to_sequence_len is False:
        message = "packed rows without `pad_to_sequence_len` differ in length: memory changes from step to step"
        yield Finding(
            code="conflict",
            path=("pad_to_sequence_len",),
            involves=("sample_packing",),
            message=message,
            fix="Leave pad_to_sequence_len out.",
            warning=True,
        )


def read_ahead_has_workers(config: TrainingConfig) -> Iterator[Finding]:
    """Only worker processes read ahead."""
    if config.dataloader_prefetch_factor is not None and not config.dataloader_num_workers:
        message = "'dataloader_prefetch_factor' needs `dataloader_num_workers` of at least 1: only workers read ahead"
        yield Finding(
            code="conflict",
            path=("dataloader_prefetch_factor",),
            involves=("dataloader_num_workers",),
            message=message,
            fix="Set both or none.",
        )


def batch_divides(config: TrainingConfig) -> Iterator[Finding]:
    """A step's batch is a whole number of micro batches."""
    micro = config.micro_batch_size or 1
    if config.batch_size and config.batch_size % micro:
        message = f"batch_size ({config.batch_size}) is no multiple of micro_batch_size ({micro})"
        yield Finding(
            code="conflict",
            path=("batch_size",),
            involves=("micro_batch_size",),
            message=message,
            fix=f"Write {max(micro, config.batch_size // micro * micro)}, or set gradient_accumulation_steps instead.",
        )


def warmup_ends(config: TrainingConfig) -> Iterator[Finding]:
    """The warm-up is shorter than the run."""
    if config.max_steps and config.warmup_steps and config.warmup_steps >= config.max_steps:
        message = (
            f"warmup_steps ({config.warmup_steps}) is not below max_steps ({config.max_steps}): the peak learning rate is never reached"
        )
        yield Finding(
            code="conflict",
            path=("warmup_steps",),
            involves=("max_steps",),
            message=message,
            fix="Use fewer warm-up steps; a tenth of the run is plenty.",
            warning=True,
        )


RULES = (shortest_fits, packing_settings_used, packed_rows_are_full, read_ahead_has_workers, batch_divides, warmup_ends)
