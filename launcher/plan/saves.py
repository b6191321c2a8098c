"""What a checkpoint of a run weighs, how often one is sealed, and what a kill can cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from launcher.estimate.facts import ModelFacts
from launcher.estimate.optimizer_state import checkpoint_bytes_of
from launcher.estimate.steps import Steps
from launcher.estimate.time import RunTime
from launcher.estimate.weights import trained_bytes_each, trained_parameters
from launcher.estimate.workload import Workload

GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Saves:
    """`every_steps` is 0 when only the end is saved; `lost_h` is the training time a kill just before a save costs, None when unknown."""

    every_steps: int
    count: int
    checkpoint_gb: float
    kept: int | None
    lost_h: float | None
    final_gb: float = 0.0

    @property
    def disk_gb(self) -> float:
        """Room the kept checkpoints take, one more while a new one is being sealed."""
        kept = self.count if self.kept is None else min(self.kept, self.count)
        return self.checkpoint_gb * (kept + 1)

    def to_json(self) -> dict[str, Any]:
        """The `saves` object of a plan."""
        return {
            "every_steps": self.every_steps,
            "count": self.count,
            "checkpoint_gb": round(self.checkpoint_gb, 4),
            "disk_gb": round(self.disk_gb, 4),
            "lost_hours": round(self.lost_h, 4) if self.lost_h is not None else None,
        }


def saves_of(facts: ModelFacts, workload: Workload, steps: Steps, time: RunTime | None, *, kept: int | None) -> Saves:
    """The saves of a run: what was trained and its optimizer state, sealed every `steps.save_steps` steps and at the end."""
    trained = trained_parameters(facts, workload) * trained_bytes_each(workload)
    each = checkpoint_bytes_of(facts, workload) / GB
    lost = None
    if time is not None and steps.steps:
        training = max(0.0, time.hours.value - time.setup_h.value)
        lost = training * min(1.0, (steps.save_steps or steps.steps) / steps.steps)
    # The final model is the trained part; a merged one is the whole model in 16 bit besides.
    final = (trained + (facts.parameters * 2 if workload.adapter is not None else 0)) / GB
    return Saves(every_steps=steps.save_steps, count=steps.saves, checkpoint_gb=each, kept=kept, lost_h=lost, final_gb=final)
