"""Runs as text: the list of them, one of them, and the last words about one that has ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launcher.backend.protocol import ACTIVE, RunStatus
from launcher.state.outputs import final_folder
from runtime.config.problem import ExitCode
from runtime.record import RunRecord

_COLOURS = {
    "done": "green",
    "failed": "red",
    "unverified": "yellow",
    "recovering": "yellow",
    "lost": "red",
    "orphaned": "red",
    "stopped": "yellow",
}


def run_table(rows: Sequence[tuple[RunRecord, str]], *, now: float) -> Any:
    """A rich table of runs; each row is a record with its progress in words."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    sweeps = any(record.sweep is not None for record, _ in rows)
    for heading in ("RUN", "STATE", "PROGRESS", "AGE", *(["SWEEP"] if sweeps else []), "RECIPE"):
        table.add_column(heading, no_wrap=heading != "RECIPE", overflow="fold")
    for record, progress in rows:
        state = Text(record.state, style=_COLOURS.get(record.state, ""))
        table.add_row(record.run, state, progress, duration(now - record.created), *([record.sweep or ""] if sweeps else []), record.recipe)
    return table


def describe(status: RunStatus, *, now: float) -> str:
    """Everything about one run, a fact a line."""
    record, progress = status.record, status.progress
    lines = [f"{record.run}: {record.state}" + (f" ({record.message})" if record.message else "")]
    facts = [
        ("recipe", record.recipe),
        ("sweep", f"{record.sweep}: {_values_words(record)}" if record.sweep is not None else ""),
        ("output", record.output_dir if record.backend == "local" else ""),
        ("storage", record.storage or ""),
        *(("", f"it does not do what it is asked: {said}") for said in progress.trouble.values() if record.state in ACTIVE),
        ("began", f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(record.created))}, {duration(now - record.created)} ago"),
        ("progress", progress_words(status)),
        ("loss", _loss_words(status)),
        ("checkpoints", _checkpoint_words(status)),
        ("attempts", _attempt_words(record)),
        ("cost", _cost_words(status)),
        ("lost", _lost_words(status)),
        ("interpreter", record.python if record.backend == "local" else ""),
    ]
    lines += [f"  {name:<12} {value}" for name, value in facts if value]
    if advice := advice_for(record):
        lines.append(f"  {advice}")
    if progress.failure and progress.failure != record.message:
        lines.append(f"  it said: {progress.failure}")
    return "\n".join(lines)


def progress_words(status: RunStatus) -> str:
    """How far a run is: `step 40 of 120, train, 3 min left`."""
    progress = status.progress
    parts = []
    if status.record.after is not None and status.record.state == "starting":
        return f"waits for {status.record.after}"
    if progress.step or progress.total_steps:
        parts.append(f"step {progress.step}" + (f" of {progress.total_steps}" if progress.total_steps else ""))
    if status.record.state in ACTIVE:
        if progress.stage:
            parts.append(progress.stage)
        if progress.eta_s is not None and progress.stage == "train":
            parts.append(f"{duration(progress.eta_s)} left")
    return ", ".join(parts)


def advice_for(record: RunRecord) -> str:
    """The one command that makes sense next, empty when the run looks after itself."""
    match record.state:
        case "lost" if record.backend != "local":
            return f"nobody is at work for it; `launcher resume {record.run}` goes on from the newest sealed checkpoint, `launcher doctor` looks for what is still rented"
        case "lost" | "orphaned":
            return f"its supervisor died; `launcher resume {record.run}` goes on from the newest sealed checkpoint, `launcher stop {record.run}` leaves it stopped"
        case "stopped":
            return f"`launcher resume {record.run}` goes on from the newest sealed checkpoint"
        case "failed" if record.exit_code == ExitCode.NO_CAPACITY:
            return f"`launcher resume {record.run}` asks again; a new `launcher up` may allow more: several --gpus, another --region or none, --on-demand"
        case "failed":
            return f"`launcher logs {record.run}` shows why; `launcher resume {record.run}` tries again from the newest sealed checkpoint"
        case "unverified":
            return f"the trained model is sealed; `launcher logs {record.run}` shows why publishing failed, `launcher publish {record.run}` tries that again"
        case "done":
            if record.backend != "local":
                return f"`launcher pull {record.run} -o DIR` copies the model"
            return f"`launcher chat {record.run}` talks to the model, `launcher pull {record.run} -o DIR` copies it"
        case _:
            return f"`launcher logs {record.run} -f` follows it"


def last_words(status: RunStatus) -> str:
    """What is said when a run that was watched has ended: the outcome, where the model is, what it took, and the next command."""
    record, progress = status.record, status.progress
    head = {"done": "done", "unverified": "trained, but not verified", "stopped": "stopped", "failed": "failed"}.get(
        record.state, record.state
    )
    lines = [f"{record.run}: {head}" + (f": {record.message}" if record.message else "")]
    if record.state in ("done", "unverified") and (final := model_folder(record)) is not None:
        lines.append(f"  model        {final}")
    facts = [
        ("storage", record.storage or ""),
        ("loss", _loss_words(status)),
        ("checkpoints", _checkpoint_words(status)),
        ("attempts", _attempt_words(record)),
        ("cost", _cost_words(status)),
        ("lost", _lost_words(status)),
    ]
    lines += [f"  {name:<12} {value}" for name, value in facts if value]
    if record.state == "done" and record.backend == "local":
        lines.append(f"  talk to it   launcher chat {record.run}")
    else:
        lines.append(f"  {advice_for(record)}")
    if progress.failure and progress.failure != record.message:
        lines.append(f"  it said: {progress.failure}")
    return "\n".join(lines)


def model_folder(record: RunRecord) -> Path | None:
    """Where the model to use is on this computer: the merged one if there is one, else the sealed final folder, None before that, and for a run on rented machines."""
    final = final_folder(Path(record.output_dir)) if record.backend == "local" else None
    if final is None:
        return None
    return final / "merged" if (final / "merged").is_dir() else final


def duration(seconds: float) -> str:
    """`42 s`, `7 min`, `3 h 05 min`, `2 d`."""
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{seconds / 86400:.0f} d"


def _values_words(record: RunRecord) -> str:
    return " ".join(f"{name}={value}" for name, value in record.values.items())


def _loss_words(status: RunStatus) -> str:
    progress = status.progress
    if not progress.losses:
        return ""
    steps = sorted(progress.losses)
    first, last = progress.losses[steps[0]], progress.losses[steps[-1]]
    words = f"{first:.3f} → {last:.3f}" if len(steps) > 1 else f"{last:.3f}"
    if progress.eval_losses:
        words += f" (evaluation {progress.eval_losses[max(progress.eval_losses)]:.3f})"
    return words


def _checkpoint_words(status: RunStatus) -> str:
    sealed = [str(checkpoint.step) for checkpoint in status.checkpoints if checkpoint.sealed]
    if not sealed:
        return ""
    return f"{len(sealed)} sealed, at step{'s' if len(sealed) > 1 else ''} {', '.join(sealed[-6:])}"


def _cost_words(status: RunStatus) -> str:
    spent = status.spent
    if spent is None:
        return ""
    hours = f"{duration(spent.hours * 3600)} of machines"
    price = f" at ${spent.usd_per_h:,.2f} an hour" if spent.usd_per_h is not None else ""
    where = f" ({spent.where})" if spent.where else ""
    return (f"${spent.usd:,.2f}: {hours}{price}" if spent.usd is not None else f"no price is known; {hours}") + where


def _lost_words(status: RunStatus) -> str:
    if status.spent is None or not status.spent.lost.interruptions:
        return ""
    lost = status.spent.lost
    times = f"{lost.interruptions} interruption{'s' if lost.interruptions > 1 else ''}"
    return f"{duration(lost.seconds)} to {times}: {duration(lost.waited_s)} without training, {duration(lost.repeated_s)} of steps trained again"


def _attempt_words(record: RunRecord) -> str:
    if not record.attempts:
        return ""
    words = f"{len(record.attempts)}"
    resumed = [str(attempt.resumed_from_step) for attempt in record.attempts if attempt.resumed_from_step is not None]
    return words + (f", resumed from step{'s' if len(resumed) > 1 else ''} {', '.join(resumed)}" if resumed else "")
