"""Which GPUs a recipe fits on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from launcher.estimate.calibration import Lesson, calibrated
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
    """A number of GPUs of one kind that hold the recipe, and the estimate there; where none does, `count` is None and the estimate the largest tried.

    `unable` says what the kind cannot compute; it then counts as one that does not hold the recipe.
    """

    gpu: Gpu
    count: int | None
    estimate: Estimate
    unable: str = ""

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
            "unable": self.unable or None,
        }


Unable = Callable[[Estimate], str]
"""What the hardware of an estimate cannot compute of its recipe, in a few words; empty when it can."""


def fits(
    config: TrainingConfig, model: ModelSource, data: DataSize, *, unable: Unable = lambda _: "", lessons: Sequence[Lesson] = ()
) -> list[Fit]:
    """Every count of every GPU kind that holds the recipe and can compute it, few and small cards first; then one row for each kind that does not.

    `lessons` of earlier runs correct the estimates.
    """
    rows: list[Fit] = []
    for gpu in gpu_kinds():
        found = list(_fits_on(config, model, data, gpu, lessons))
        able = [fit for fit in found if fit.count is not None and not unable(fit.estimate)]
        rows += able or [replace(found[0], count=None, unable=unable(found[0].estimate) if found[0].count is not None else "")]
    return sorted(rows, key=lambda fit: (fit.count is None, fit.count or 0, fit.gpu.capacity_gib))


def smallest_of_each(rows: Sequence[Fit]) -> list[Fit]:
    """The first row of every kind, in the order given."""
    first: dict[str, Fit] = {}
    for row in rows:
        first.setdefault(row.gpu.name, row)
    return list(first.values())


def _fits_on(config: TrainingConfig, model: ModelSource, data: DataSize, gpu: Gpu, lessons: Sequence[Lesson]) -> Iterator[Fit]:
    last: Estimate | None = None
    found = False
    for count in COUNTS:
        last = calibrated(estimate(config, model, cards(GpuCount(gpu=gpu, count=count)), data), lessons)
        if last.memory.verdict != "does-not-fit":
            found = True
            yield Fit(gpu=gpu, count=count, estimate=last)
        # More cards help only where the training state is spread over them.
        elif count > 1 and not last.step.workload.sharding.shards_weights and last.step.workload.sharding.kind in ("none", "ddp"):
            break
    if not found:
        assert last is not None
        yield Fit(gpu=gpu, count=None, estimate=last)
