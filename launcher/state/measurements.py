"""What finished runs measured: their peak memory and their speed, read once from the events and kept beside them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from launcher.state.runs import RunFolder, list_runs
from runtime.config.problem import UserError
from runtime.events import Event, latest_per_step, read_events
from runtime.record import write_atomic

KEPT = "measured.json"

# The first steps compile, fill caches and wait for data.
WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one run measured. `peak_gib` is the allocator's peak on a GPU, the resident set of a process on a CPU; `tokens_per_s` is of all processes.

    `gpu` is the card's name as the driver gives it, None on a CPU; `processes` the number of training processes; `steps` those measured.
    """

    run: str
    gpu: str | None
    processes: int
    cores: int
    peak_gib: float
    tokens_per_s: float
    steps: int


def measurements(root: Path) -> Iterator[tuple[RunFolder, Measurement]]:
    """The runs below `root` that have finished and measured something, the newest first; each is read when it is asked for."""
    for folder in list_runs(root):
        try:
            if folder.record().state not in ("done", "unverified"):
                continue
            measured = measurement_of(folder)
        except (UserError, OSError, ValueError):
            continue  # a run without a readable record taught nothing
        if measured is not None:
            yield folder, measured


def measurement_of(folder: RunFolder) -> Measurement | None:
    """What a run measured, None when it has too few steps. Kept beside the run once it has finished. Raises UserError for a run without a record."""
    record = folder.record()
    kept = folder.path / KEPT
    finished = record.state in ("done", "unverified")
    if finished and kept.is_file():
        body: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return Measurement(**body)
    measured = measured_in(folder.run, list(read_events(Path(record.output_dir) / "events.jsonl")), processes=record.processes)
    if measured is not None and finished:
        write_atomic(kept, json.dumps(asdict(measured), indent=1).encode())
    return measured


def measured_in(run: str, events: Iterable[Event], *, processes: int) -> Measurement | None:
    """What the events of a run measured; None before it has `WARM_UP_STEPS` and three more steps."""
    events = list(events)
    machine = next((event for event in reversed(events) if event["kind"] == "machine"), {})
    steps = latest_per_step(events, "loss")
    # A restart warms up again, and the step after it carries the restart in its time.
    warm = steps[WARM_UP_STEPS:]
    speeds = [float(event["tokens_per_s"]) for event in warm if isinstance(event.get("tokens_per_s"), int | float)]
    peaks = [float(event["memory_gib"]) for event in steps if isinstance(event.get("memory_gib"), int | float)]
    if len(speeds) < 3 or not peaks:
        return None
    return Measurement(
        run=run,
        gpu=machine.get("gpu"),
        processes=int(machine.get("processes") or processes),
        cores=int(machine.get("cores") or 0),
        peak_gib=max(peaks),
        tokens_per_s=statistics.median(speeds),
        steps=len(steps),
    )
