"""What a run carries besides Hugging Face's trainer state."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

from runtime.events import EventLog
from runtime.model.rows import FrozenRows
from runtime.plugins.hooks import Hooks
from runtime.training.cadence import Cadence
from runtime.training.chaos import Chaos
from runtime.training.deadline import Ending
from runtime.training.health import Improvement, LossWatch, Sweep
from runtime.training.interval import SaveBeat
from runtime.training.losses.choice import RunLoss
from runtime.training.optimizer import Rates
from runtime.training.optimizers.named import Named
from runtime.training.processes import Rank
from runtime.training.progress import Progress
from runtime.training.relora import ReLoRA
from runtime.training.saving import Saver
from runtime.training.schedule import Schedule
from runtime.training.sharding.settings import Sharding
from runtime.training.stop import Notice, StopRequest

if TYPE_CHECKING:
    from runtime.training.losses.server import TeacherServer
    from runtime.training.probe import Probe

SESSION = "session.json"


@dataclass(kw_only=True)
class Session:
    """What a run carries besides Hugging Face's trainer state. All of it is in every checkpoint, except what is given anew at each start."""

    cadence: Cadence
    rank: Rank
    rates: Rates
    schedule: Schedule
    optimizer: Named | None = None
    relora: ReLoRA | None = None
    frozen_rows: tuple[FrozenRows, ...] = ()
    sharding: Sharding | None = None
    saver: Saver
    stop: StopRequest
    chaos: Chaos
    beat: SaveBeat | None = None
    progress: Progress
    events: EventLog | None
    notice_file: Path | None = None
    hooks: Hooks = field(default_factory=Hooks)
    watch: LossWatch = field(default_factory=LossWatch)
    improvement: Improvement = field(default_factory=Improvement)
    sweep: Sweep = field(default_factory=Sweep)
    # What else is written into every checkpoint, by the process that writes.
    keeps: list[Callable[[Path], None]] = field(default_factory=list)
    takes_up: list[Callable[[Path], None]] = field(default_factory=list)
    loss: RunLoss | None = None
    teacher: TeacherServer | None = None
    probe: Probe | None = None
    compiler: dict[str, Any] = field(default_factory=dict)
    offloading: AbstractContextManager[Any] = field(default_factory=nullcontext)
    load_best: bool = False
    evaluation_due: int | None = None
    ended: bool = False
    stopped: Notice | None = None
    ending: Ending | None = None
    reaper: Timer | None = None
    final_loss: float | None = None
    eval_loss: float | None = None

    def emit(self, kind: str, step: int | None = None, **fields: Any) -> None:
        """Append an event, on the one process that writes."""
        if self.events is not None:
            self.events.append(kind, step, **fields)

    def dump(self) -> dict[str, Any]:
        """The part that a checkpoint keeps."""
        return {
            "evaluation_due": self.evaluation_due,
            "ended": self.ended,
            "without_improvement": self.improvement.without,
            "high_losses": self.watch.high_in_a_row,
            "final_loss": self.final_loss,
            "eval_loss": self.eval_loss,
            "plugins": self.hooks.state(),
            "micro_batch_size": self.cadence.micro_batch_size,
            "gradient_accumulation_steps": self.cadence.gradient_accumulation_steps,
            "processes": self.rank.world_size,
            "counted_for": self.cadence.counted_for,
            "length_group": self.cadence.length_group or self.cadence.micro_batch_size * self.cadence.gradient_accumulation_steps,
        }

    def load(self, folder: Path) -> None:
        """Take up what the checkpoint in `folder` kept."""
        file = folder / SESSION
        if not file.is_file():
            return
        kept = json.loads(file.read_text(encoding="utf-8"))
        self.evaluation_due, self.ended = kept["evaluation_due"], kept["ended"]
        self.improvement.without = kept["without_improvement"]
        self.watch.high_in_a_row = kept["high_losses"]
        self.final_loss, self.eval_loss = kept["final_loss"], kept["eval_loss"]
        self.hooks.load_state(kept.get("plugins", {}))
        for take_up in self.takes_up:
            take_up(folder)
