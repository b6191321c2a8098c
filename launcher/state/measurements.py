"""What runs measured: their peak memory and their speed, read once from the events and kept beside them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher.state.runs import RunFolder
from runtime.events import Event, latest_per_step, read_events
from runtime.record import write_atomic

KEPT = "measured.json"
SCHEMA = "launcher.measured/2"
FINISHED = ("done", "unverified")

# The first steps compile, fill caches and wait for data.
WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What the probe before training measured on the fullest device: the peak of a step at the longest rows, and the micro batch it settled on."""

    peak_gib: float
    micro_batch: int
    tokens: int
    lowered_from: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one run measured. `peak_gib` is the allocator's peak in training on a GPU, the resident set of a process on a CPU; `tokens_per_s` is of all
    processes, None before enough steps.

    `gpu` is the card's name as the driver gives it, None on a CPU; `processes` the number of training processes; `steps` those measured.
    """

    run: str
    gpu: str | None
    processes: int
    cores: int
    peak_gib: float | None
    tokens_per_s: float | None
    steps: int
    probed: Probed | None = None

    @property
    def worst_gib(self) -> float | None:
        """The most that was seen: the probe meets the longest rows all at once, which training may never do."""
        seen = [gib for gib in (self.peak_gib, self.probed.peak_gib if self.probed is not None else None) if gib is not None]
        return max(seen, default=None)


def measurement_of(folder: RunFolder) -> Measurement | None:
    """What a run measured, None when that is nothing yet. Kept beside the run once it has finished. Raises UserError for a run without a record."""
    record = folder.record()
    kept = folder.path / KEPT
    finished = record.state in FINISHED
    if finished and (found := _kept(kept)) is not None:
        return found
    measured = measured_in(folder.run, read_events(Path(record.output_dir) / "events.jsonl"), processes=record.processes)
    if measured is not None and finished:
        write_atomic(kept, json.dumps({"schema": SCHEMA, **asdict(measured)}, indent=1).encode())
    return measured


def measured_in(run: str, events: Iterable[Event], *, processes: int) -> Measurement | None:
    """What the events of a run measured; None before its first step, unless it was probed. Its speed needs `WARM_UP_STEPS` and three more steps."""
    events = list(events)
    machine = next((event for event in reversed(events) if event["kind"] == "machine"), {})
    steps = latest_per_step(events, "loss")
    # A restart warms up again, and the step after it carries the restart in its time.
    warm = steps[WARM_UP_STEPS:]
    speeds = [float(event["tokens_per_s"]) for event in warm if isinstance(event.get("tokens_per_s"), int | float)]
    peaks = [float(event["memory_gib"]) for event in steps if isinstance(event.get("memory_gib"), int | float)]
    probed = next((found for event in reversed(events) if event["kind"] == "probe" and (found := _probed(event)) is not None), None)
    if not peaks and probed is None:
        return None
    return Measurement(
        run=run,
        gpu=machine.get("gpu"),
        processes=int(machine.get("processes") or processes),
        cores=int(machine.get("cores") or 0),
        peak_gib=max(peaks, default=None),
        tokens_per_s=statistics.median(speeds) if len(speeds) >= 3 else None,
        steps=len(steps),
        probed=probed,
    )


def _probed(event: Event) -> Probed | None:
    try:
        lowered = event.get("lowered_from")
        return Probed(
            peak_gib=float(event["peak_gib"]),
            micro_batch=int(event["micro_batch"]),
            tokens=int(event["tokens"]),
            lowered_from=None if lowered is None else int(lowered),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _kept(file: Path) -> Measurement | None:
    """What was kept, None where nothing was, or by another version: it is read from the events again."""
    try:
        body: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if body.pop("schema", None) != SCHEMA:
            return None
        probed = body.pop("probed")
        return Measurement(**body, probed=Probed(**probed) if probed is not None else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
