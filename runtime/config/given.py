"""Whether a recipe asks for something: an option counts as given when it was written and is neither empty nor false."""

from __future__ import annotations

from runtime.config.schema import TrainingConfig


def given(config: TrainingConfig, name: str) -> bool:
    """Whether `name` was written with a value that asks for something."""
    return name in config.model_fields_set and bool(getattr(config, name))


def evaluates(config: TrainingConfig) -> bool:
    """Whether there are data to evaluate on."""
    return bool(config.val_set_size) or bool(config.test_datasets)
