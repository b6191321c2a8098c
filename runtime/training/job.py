"""One training process: its recipe, its place among the others, and where it writes and speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.checkpoint.others import Others
from runtime.config.beat import VARIABLE as PREEMPTION_H
from runtime.events import EventLog
from runtime.training.folder import RunFolder
from runtime.training.preemption.choice import ENDPOINT, VARIABLE
from runtime.training.processes import Rank
from runtime.training.progress import Progress
from runtime.training.stop import StopRequest
from runtime.training.vigil import Vigil


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the environment says about this training process. Unset variables mean a run started by hand."""

    run: str | None = None
    state_dir: Path | None = None
    attempt: int = 1
    chaos: str = ""
    verdict: Path | None = None
    debug: bool = False
    notices: Mapping[str, str] = field(default_factory=lambda: {VARIABLE: "none"})
    """The variables that say where notices of a preemption come from, and how often to expect one."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Surroundings:
        """Read the variables the supervisor, and the parent of several processes, set."""
        state, verdict, attempt = (environment.get(name) for name in ("LAUNCHER_RUN_DIR", "RUNTIME_VERDICT", "LAUNCHER_ATTEMPT"))
        return cls(
            run=environment.get("LAUNCHER_RUN") or None,
            state_dir=Path(state) if state else None,
            attempt=int(attempt) if attempt and attempt.isdecimal() else 1,
            chaos=environment.get("LAUNCHER_CHAOS", ""),
            verdict=Path(verdict) if verdict else None,
            debug=environment.get("LAUNCHER_DEBUG") == "1",
            notices={name: environment[name] for name in (VARIABLE, ENDPOINT, PREEMPTION_H) if environment.get(name)},
        )

    @property
    def notice(self) -> Path | None:
        """Where a supervisor says why it wants the run to stop."""
        return self.state_dir / "notice.json" if self.state_dir else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything a training process is given. `events` is None on processes that do not write."""

    config: Any
    surroundings: Surroundings
    rank: Rank
    folder: RunFolder
    progress: Progress
    events: EventLog | None
    stop: StopRequest
    ends: ExitStack = field(default_factory=ExitStack)
    """What is let go of when the training ends, in whatever way."""
    vigils: list[Vigil] = field(default_factory=list)
    """Who tells the other machines of the run how this process ends, and hears of theirs; nobody where they share a disk, or there is one."""
    others: list[Others] = field(default_factory=list)
    """The other machines, as the head calls for what they hold; nobody elsewhere."""
    lasts: list[Callable[[], object]] = field(default_factory=list)
    """What has to be waited for, for a while, before this process may be ended from outside its main thread."""

    @property
    def run(self) -> str:
        """The run's name: the supervisor's, else the recipe's, else the output folder's."""
        return self.surroundings.run or self.config.launch.name or self.folder.path.resolve().name

    def emit(self, kind: str, step: int | None = None, **fields: Any) -> None:
        """Append an event to the run's log, on the one process that writes."""
        if self.events is not None:
            self.events.append(kind, step, **fields)
