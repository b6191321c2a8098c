"""What a run on rented machines has used: each machine's time, where it was, and what it costs. Kept as `usage.json` beside the run's checkpoints, and
as it was last seen in the run's folder on a computer that looks at it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.events import Event
from runtime.record import write_atomic

KEPT = "usage.json"


class Life(BaseModel):
    """One machine's part in a run. Times are Unix seconds by that machine's clock."""

    model_config = ConfigDict(extra="ignore")

    number: int
    submission: str = Field("", description="Which `up` or `resume` it belongs to.")
    writer: str = Field("", description="The process that writes this life, by a word no other has.")
    where: str = Field("", description="`aws/us-east-1/us-east-1a`, as far as the machine was told.")
    began: float = Field(description="When it began to cost: its start, or that of its set-up.")
    beat: float = Field(description="When it last gave a sign of life.")
    usd_per_h: float | None = Field(None, description="Price of all its nodes; None when no price is known.")
    sealed_step: int = Field(-1, description="Newest step it has sealed.")
    ended: bool = False

    @property
    def hours(self) -> float:
        """Time it was paid for, as far as is known."""
        return max(0.0, self.beat - self.began) / 3600


class Usage(BaseModel):
    """All lives of a run, in their order."""

    model_config = ConfigDict(extra="ignore")

    schema_version: int = 1
    lives: list[Life] = Field(default_factory=list)

    @property
    def last(self) -> Life | None:
        """The newest life."""
        return self.lives[-1] if self.lives else None

    def hours(self, submission: str | None = None) -> float:
        """Machine hours of one submission, or of all."""
        return sum(life.hours for life in self.lives if submission in (None, life.submission))

    @property
    def usd(self) -> float | None:
        """Dollars so far, None when the price of a machine is not known."""
        if not self.lives or any(life.usd_per_h is None for life in self.lives):
            return None
        return sum(life.hours * (life.usd_per_h or 0.0) for life in self.lives)

    def fruitless(self) -> int:
        """How many lives in a row, the newest last, ended without a newer sealed checkpoint than the one before them."""
        count, best = 0, -1
        for life in self.lives:
            count = 0 if life.sealed_step > best else count + 1
            best = max(best, life.sealed_step)
        return count


def read_usage(folder: Path) -> Usage | None:
    """What this computer has last seen of a run's usage; None where it has not looked, or what it kept cannot be read."""
    with suppress(OSError, ValidationError):
        return Usage.model_validate_json((folder / KEPT).read_text(encoding="utf-8"))
    return None


def keep_usage(folder: Path, usage: Usage) -> None:
    """Keep it in the run's folder here, where later plans look for it. A failure is not told: they then know less."""
    if usage.lives and usage != read_usage(folder):
        with suppress(OSError):
            write_atomic(folder / KEPT, usage.model_dump_json(indent=1).encode() + b"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What interruptions cost: `waited_s` without a training step, set-up included, and `repeated_s` in steps trained twice."""

    interruptions: int
    waited_s: float
    repeated_s: float

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.waited_s + self.repeated_s


def lost_time(events: Iterable[Event]) -> Lost:
    """The time lost to interruptions, from a run's events.

    Between the last step before an interruption and the first after it nothing was learnt; steps that had been trained before count as repeated
    until a new one is reached.
    """
    interruptions, waited, repeated = 0, 0.0, 0.0
    newest, last_at, resumed = 0, None, False
    for event in events:
        step, at = event.get("step"), float(event.get("time") or 0.0)
        if event["kind"] == "resumed":
            resumed = True
        elif event["kind"] == "loss" and isinstance(step, int):
            if last_at is not None:
                passed = max(0.0, at - last_at)
                if resumed:
                    interruptions, waited = interruptions + 1, waited + passed
                elif step <= newest:
                    repeated += passed
            newest, last_at, resumed = max(newest, step), at, False
    return Lost(interruptions=interruptions, waited_s=waited, repeated_s=repeated)
