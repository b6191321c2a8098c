"""Rules about the step that is tried before training."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.schema import TrainingConfig


def lowering_needs_the_probe(config: TrainingConfig) -> Iterator[Finding]:
    """A micro batch that fits is found by trying."""
    if given(config, "auto_find_batch_size") and config.launch.probe is False:
        message = "'auto_find_batch_size' finds a micro batch that fits by trying a step before training, which `launch: {probe: false}` leaves out"
        yield conflict("auto_find_batch_size", message, "Remove one of the two.", "launch")


def a_step_can_be_tried(config: TrainingConfig) -> Iterator[Finding]:
    """Optimizers that step inside the backward pass leave no way to try one."""
    optimizer = str(getattr(config.optimizer, "value", config.optimizer) or "")
    if optimizer not in ("lomo", "adalomo") and not optimizer.endswith("_layerwise"):
        return
    message = f"no step can be tried before training: 'optimizer: {optimizer}' changes the weights in every backward pass"
    if config.launch.probe is True:
        yield conflict(("launch", "probe"), message, "Leave it at `auto`, or take another optimizer.", "optimizer")
    if given(config, "auto_find_batch_size"):
        yield conflict("auto_find_batch_size", message, "Lower micro_batch_size instead, or take another optimizer.", "optimizer")


RULES = (lowering_needs_the_probe, a_step_can_be_tried)
