"""`--set micro_batch_size=auto`: the largest micro batch that fits where the run goes, with the global batch as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from launcher.estimate.hardware import Hardware
    from launcher.estimate.model_source import ModelSource
    from launcher.estimate.rows import DataSize
    from runtime.config.schema import TrainingConfig

AUTO = "micro_batch_size=auto"


def without_auto(sets: Sequence[str]) -> tuple[list[str], bool]:
    """The overrides without `micro_batch_size=auto`, and whether it was among them."""
    plain = [text for text in sets if text.replace(" ", "") != AUTO]
    return plain, len(plain) < len(sets)


def find_batch(
    config: TrainingConfig, hardware: Hardware, *, environment: Mapping[str, str], model_config: Path | None = None
) -> tuple[TrainingConfig, Problem]:
    """What `settle_batch` gives for the recipe's own model and data."""
    from launcher.estimate.model_source import find_model
    from launcher.estimate.rows import data_size

    model = find_model(config.base_model, model_config=model_config, environment=environment, changes=config.overrides_of_model_config)
    return settle_batch(config, model, hardware, data_size(config, vocab=model.facts.vocab))


def settle_batch(config: TrainingConfig, model: ModelSource, hardware: Hardware, data: DataSize) -> tuple[TrainingConfig, Problem]:
    """The recipe with the largest micro batch that fits on `hardware`, and a note that says which. Raises UserError (exit 3) when not even one row fits."""
    from launcher.estimate.advice import largest_micro_batch, with_largest_batch

    largest = largest_micro_batch(config, model, hardware, data)
    if largest is None:
        raise UserError(
            Problem(
                code="does-not-fit",
                path="micro_batch_size",
                place="--set micro_batch_size=auto",
                message=f"not even a micro batch of 1 surely fits on {hardware.name}",
                fix="leave it out: `launcher estimate` says what would make the recipe fit",
            ),
            exit_code=ExitCode.REFUSED,
        )
    settled = with_largest_batch(config, largest)
    accumulation = f", gradient_accumulation_steps {settled.gradient_accumulation_steps}" if not settled.batch_size else ""
    note = Problem(
        code="auto",
        path="micro_batch_size",
        place="--set micro_batch_size=auto",
        message=f"micro_batch_size is {settled.micro_batch_size}{accumulation}: {largest} is the most that surely fits on {hardware.name}",
    )
    return settled, note
