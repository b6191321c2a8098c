"""Which GPUs a recipe fits on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.estimate.estimate import Estimate, estimate
from launcher.estimate.gpus import Gpu, GpuCount, gpu_kinds
from launcher.estimate.hardware import cards
from launcher.estimate.model_source import ModelSource
from launcher.estimate.rows import DataSize

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The smallest number of GPUs of one kind that hold the recipe, and the estimate there; with none, `count` is None and the estimate the largest tried."""

    gpu: Gpu
    count: int | None
    estimate: Estimate

    def to_json(self) -> dict[str, Any]:
        """One row of the table as JSON."""
        memory, time = self.estimate.memory, self.estimate.time
        return {
            "gpu": self.gpu.name,
            "count": self.count,
            "card_gib": self.gpu.capacity_gib,
            "per_gpu_gib": memory.held.to_json(2),
            "verdict": memory.verdict,
            "hours": time.hours.to_json() if time is not None else None,
        }


def fits(config: TrainingConfig, model: ModelSource, data: DataSize) -> list[Fit]:
    """One row for each GPU kind: first those that fit, the smallest cards first, then those that do not."""
    rows = [_fit(config, model, data, gpu) for gpu in gpu_kinds()]
    return sorted(rows, key=lambda fit: (fit.count is None, fit.count or 0, fit.gpu.capacity_gib))


def _fit(config: TrainingConfig, model: ModelSource, data: DataSize, gpu: Gpu) -> Fit:
    last: Estimate | None = None
    for count in COUNTS:
        last = estimate(config, model, cards(GpuCount(gpu=gpu, count=count)), data)
        if last.memory.verdict != "does-not-fit":
            return Fit(gpu=gpu, count=count, estimate=last)
        # More cards help only where the training state is spread over them.
        if count > 1 and not last.step.workload.sharding.shards_weights and last.step.workload.sharding.kind in ("none", "ddp"):
            break
    assert last is not None
    return Fit(gpu=gpu, count=None, estimate=last)
