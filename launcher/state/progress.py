"""How far a run has come, folded from its events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from runtime.events import Event


@dataclass(slots=True, kw_only=True)
class Progress:
    """The state of a run as its events tell it. `eta_s` uses the pace of the present attempt alone: a restart must not look like a slow step."""

    stage: str = ""
    stage_done: int | None = None
    stage_total: int | None = None
    step: int = 0
    total_steps: int | None = None
    losses: dict[int, float] = field(default_factory=dict)
    eval_losses: dict[int, float] = field(default_factory=dict)
    latest: Event = field(default_factory=dict)
    checkpoint_steps: list[int] = field(default_factory=list)
    resumed_from: list[int] = field(default_factory=list)
    final_loss: float | None = None
    failure: str = ""
    trouble: dict[str, str] = field(default_factory=dict)
    """What the run's storage does not do at present, by the kind of event that told it."""
    _pace_from: tuple[int, float] | None = None

    def apply(self, event: Event) -> None:
        """Take one event into account; kinds it does not know change nothing."""
        step = event.get("step")
        match event["kind"]:
            case "started":
                self.stage, self.stage_done, self.stage_total, self._pace_from, self.failure = "starting", None, None, None, ""
                self.trouble = {}
            case "stage":
                self.stage = str(event.get("name", ""))
                self.stage_done, self.stage_total = event.get("done"), event.get("total")
            case "plan":
                self.total_steps = event.get("steps")
            case "loss" if isinstance(step, int):
                self.stage, self.step, self.latest = "train", step, event
                if isinstance(event.get("loss"), int | float):
                    self.losses[step] = float(event["loss"])
                if self._pace_from is None:
                    self._pace_from = (step, float(event["time"]))
            case "eval" if isinstance(event.get("loss"), int | float):
                self.eval_losses[step if isinstance(step, int) else self.step] = float(event["loss"])
            case "checkpoint" if isinstance(step, int) and step not in self.checkpoint_steps:
                self.checkpoint_steps.append(step)
            case "resumed":
                start = int(event.get("from_step") or 0)
                self.step = start
                self.resumed_from.append(start)
            case "trained":
                final = event.get("final_loss")
                self.final_loss = float(final) if isinstance(final, int | float) else None
                if isinstance(event.get("steps"), int):
                    self.step = event["steps"]
            case "store_failing" | "store_keeps":
                self.trouble[event["kind"]] = str(event.get("message", ""))
            case "store_answers" | "uploaded":
                self.trouble.pop("store_failing", None)
            case "store_deletes":
                self.trouble.pop("store_keeps", None)
            case "failed":
                self.failure = str(event.get("message", ""))
            case _:
                pass

    @property
    def loss(self) -> float | None:
        """The loss of the newest step."""
        return self.losses.get(self.step)

    @property
    def eta_s(self) -> float | None:
        """Seconds the remaining optimizer steps need at this attempt's pace; None before there is a pace."""
        if self._pace_from is None or self.total_steps is None or not self.latest:
            return None
        first, began = self._pace_from
        if self.step <= first:
            return None
        return max(0.0, (float(self.latest["time"]) - began) / (self.step - first) * (self.total_steps - self.step))

    def as_json(self) -> dict[str, Any]:
        """The progress of `launcher status --json`."""
        return {
            "stage": self.stage,
            "step": self.step,
            "total_steps": self.total_steps,
            "loss": self.loss,
            "learning_rate": self.latest.get("learning_rate"),
            "tokens_per_s": self.latest.get("tokens_per_s"),
            "memory_gib": self.latest.get("memory_gib"),
            "eval_loss": self.eval_losses[max(self.eval_losses)] if self.eval_losses else None,
            "eta_s": self.eta_s,
            "resumed_from": self.resumed_from,
            "storage_trouble": list(self.trouble.values()),
        }


def fold(events: Iterable[Event]) -> Progress:
    """The progress all `events` together make."""
    progress = Progress()
    for event in events:
        progress.apply(event)
    return progress
