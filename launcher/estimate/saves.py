"""When a run seals a checkpoint, what it weighs, and what a kill can cost: by the rules the runtime saves by."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from launcher.estimate.checkpoint_size import checkpoint_gb, final_gb
from launcher.estimate.facts import ModelFacts
from launcher.estimate.steps import Steps
from launcher.estimate.transfer import UPLOAD_GB_PER_S
from launcher.estimate.workload import Workload
from runtime.config.beat import first_save_s, leaves_saves_open, save_interval_s

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

When = Literal["steps", "clock", "best", "never"]

# GB a second a snapshot is written with: a network disk, a cloud machine's own disk, a fast NVMe disk. Checksums and uploads follow while training goes on.
SNAPSHOT_GB_PER_S = (0.15, 0.5, 2.0)
# Seconds that even a small one takes: 2 to 30 MB on two busy cores took 0.05 to 1.2, half of them less than 0.2 (own runs, November 2026).
SNAPSHOT_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Saves:
    """Checkpoints of a run: after every `every_steps` steps, by the `clock`, at each evaluation that is the `best` so far, or `never`.

    `every_h` is the training time between two and `training_h` that of the whole run, without set-up and saves, None where the speed or the length of the
    run is not known. `count` is the most there can be where the best are saved. `risk_h` are the mean hours between preemptions that the clock goes by;
    `open` says that the recipe leaves the choice to the machine.
    """

    when: When
    every_steps: int
    every_h: float | None
    count: int
    checkpoint_gb: float
    final_gb: float
    kept: int | None
    training_h: float | None
    risk_h: float | None
    open: bool
    stored: bool

    @property
    def save_h(self) -> float:
        """Hours one save is expected to hold training up."""
        return (SNAPSHOT_S + self.checkpoint_gb / SNAPSHOT_GB_PER_S[1]) / 3600

    @property
    def lost_h(self) -> float | None:
        """Training time that a kill just before a save costs, None when unknown."""
        return self.training_h if self.every_h is None else self.every_h

    @property
    def disk_gb(self) -> float:
        """Room the kept checkpoints take, one more while a new one is being sealed."""
        kept = self.count if self.kept is None else min(self.kept, self.count)
        return self.checkpoint_gb * (kept + 1)

    @property
    def sent_gb(self) -> float:
        """GB that go to a store over the run, where it has one."""
        return self.checkpoint_gb * self.count + self.final_gb

    def at_risk(self, preemption_h: float) -> Saves:
        """The saves on machines taken away once in so many hours: other ones only where the recipe leaves the choice to the machine."""
        return _by_clock(self, preemption_h) if self.open else self

    def over(self, training_h: float) -> Saves:
        """The saves of the same run where it trains for so many hours."""
        if self.risk_h is not None:
            return _by_clock(replace(self, training_h=training_h), self.risk_h)
        share = self.every_h / self.training_h if self.every_h is not None and self.training_h else None
        return replace(self, training_h=training_h, every_h=share * training_h if share is not None else None)

    def to_json(self) -> dict[str, Any]:
        """The `saves` object of a plan."""
        return {
            "when": self.when,
            "every_steps": self.every_steps,
            "every_minutes": round(self.every_h * 60, 2) if self.every_h is not None else None,
            "count": self.count,
            "checkpoint_gb": round(self.checkpoint_gb, 4),
            "disk_gb": round(self.disk_gb, 4),
            "final_gb": round(self.final_gb, 4),
            "sent_gb": round(self.sent_gb, 4) if self.stored else 0.0,
            "lost_hours": round(self.lost_h, 4) if self.lost_h is not None else None,
        }


def saves_of(
    config: TrainingConfig, facts: ModelFacts, workload: Workload, steps: Steps, *, training_h: float | None, preemption_h: float | None
) -> Saves:
    """The saves of a run that trains for `training_h` hours. `preemption_h` as the runtime takes it: None where the clock does not decide."""
    every = steps.save_steps
    best = config.save_strategy == "best"
    count = steps.evaluations if best else math.ceil(steps.steps / every) if every else 0
    if config.save_first_step and every != 1:
        count += 1
    saves = Saves(
        when="best" if best else "steps" if every else "never",
        every_steps=every,
        every_h=training_h * min(1.0, every / steps.steps) if training_h is not None and every and steps.steps else None,
        count=count,
        checkpoint_gb=checkpoint_gb(config, facts, workload),
        final_gb=final_gb(config, facts, workload),
        kept=config.save_total_limit,
        training_h=training_h,
        risk_h=None,
        open=leaves_saves_open(config),
        stored=config.launch.storage is not None,
    )
    return saves if preemption_h is None else _by_clock(saves, preemption_h)


def _by_clock(saves: Saves, preemption_h: float) -> Saves:
    send_s = saves.checkpoint_gb / UPLOAD_GB_PER_S if saves.stored else 0.0
    interval_s = save_interval_s(saves.save_h * 3600, preemption_h, send_s=send_s)
    count = 1
    if saves.training_h is not None:
        # The first comes early, the last with the last step.
        after_first = saves.training_h * 3600 - first_save_s(preemption_h)
        count = 1 + (1 + int(after_first / interval_s) if after_first > 0 else 0)
    every_h = interval_s / 3600 if saves.training_h is None else min(interval_s / 3600, saves.training_h)
    return replace(saves, when="clock", every_steps=0, every_h=every_h, count=count, risk_h=preemption_h)
