"""What a place that runs training has to offer; the command line knows nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from launcher.backend.bounds import UNCHANGED, Bounds
from launcher.backend.job import Job
from launcher.state.outputs import CheckpointFolder
from launcher.state.progress import Progress
from launcher.state.usage import Lost
from runtime.config.problem import Problem
from runtime.events import Event
from runtime.record import RunRecord, RunState

ACTIVE: frozenset[RunState] = frozenset({"starting", "preparing", "training", "publishing", "recovering"})
"""States in which somebody is at work for the run: a supervisor, or whoever looks for another machine after one was taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run on rented machines has used: hours of machines, dollars (None where a price is not known), and what interruptions cost in time.
    `usd_per_h` and `where` are those of its newest machine."""

    hours: float
    usd: float | None
    usd_per_h: float | None
    where: str
    machines: int
    lost: Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run as it is now. The record's state is what was found, which may be worse than what was written down: `lost` when nobody is at work
    although the record says so, `orphaned` when the training process lives without a supervisor."""

    record: RunRecord
    progress: Progress
    checkpoints: tuple[CheckpointFolder, ...] = ()
    spent: Spent | None = None


class EventSource(Protocol):
    """Events of a run, as they come."""

    def new(self) -> Sequence[Event]:
        """The events since the last call."""
        ...


class LogSource(Protocol):
    """Log text of a run, as it comes."""

    def new(self) -> str:
        """The whole lines since the last call."""
        ...

    def rest(self) -> str:
        """What is left once the run has ended."""
        ...

    def last(self, count: int) -> Sequence[str]:
        """The last lines so far, read already or not."""
        ...


class Backend(Protocol):
    """A place that runs training. Methods raise UserError for what the user can mend; `run` is a full run id."""

    @property
    def name(self) -> str:
        """The word that stands for it in records: `local`, `sky`."""
        ...

    def submit(self, job: Job) -> RunRecord:
        """Start the job and return its record at once; the run goes on without the caller."""
        ...

    def look(self, run: str) -> RunRecord:
        """The run's record with its state as found; cheap enough to ask several times a second."""
        ...

    def status(self, run: str) -> RunStatus:
        """The run as it is now, progress and checkpoints included."""
        ...

    def runs(self) -> list[RunRecord]:
        """The records of all runs with their states as found, the newest first."""
        ...

    def events(self, run: str) -> EventSource:
        """The run's events from its first on."""
        ...

    def log(self, run: str) -> LogSource:
        """The run's log from its first line on."""
        ...

    def stop(self, run: str) -> None:
        """Ask the run to stop at its next step boundary and seal; returns at once. A run without a supervisor is stopped before this returns."""
        ...

    def resume(self, run: str, bounds: Bounds = UNCHANGED, *, after: str | None = None) -> RunRecord:
        """Start a run that is not at work again, from its newest sealed checkpoint, under new limits where `bounds` has any. `after` is the run whose end
        it waits for where there is one machine for both."""
        ...

    def release(self, run: str) -> None:
        """Give back at once what a run that has ended still holds; nothing for one that is at work."""
        ...

    def bill(self, run: str) -> list[str]:
        """What of the run costs money now, a sentence each; nothing on a machine of one's own."""
        ...

    def down(self, run: str, *, delete: bool) -> list[Problem]:
        """End the run and free all it holds; with `delete`, its results and its record too. Returns what could not or must not be removed."""
        ...
