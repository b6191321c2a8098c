"""What is wrong with the state of runs on this machine: lost runs, leaks, leftovers, and what to do about each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.backend.local.claim import owner_of
from launcher.backend.local.machine import LocalBackend
from launcher.backend.protocol import ACTIVE
from launcher.state.outputs import disk_use, list_checkpoints
from launcher.state.runs import RunFolder, find_run, list_runs
from runtime.checkpoint.layout import CHECKPOINTS
from runtime.checkpoint.tree import STAGING_PREFIX, TRASH_PREFIX
from runtime.config.problem import Problem, UserError
from runtime.record import RunRecord

_LOW_DISK_BYTES = 2 << 30
_LONG_LOG_BYTES = 200 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was looked at, and what was found; `disk_bytes` is what each run's output takes."""

    runs: tuple[str, ...]
    disk_bytes: dict[str, int]
    findings: tuple[Problem, ...]


def examine(backend: LocalBackend, run: str | None = None) -> Examination:
    """The findings about one run, or about all of them and what they share."""
    folders = [find_run(backend.state_root, run)] if run is not None else list_runs(backend.state_root)
    findings: list[Problem] = []
    sizes: dict[str, int] = {}
    elsewhere: set[str] = set()
    for folder in folders:
        try:
            record = backend.look(folder.run)
            if record.backend != backend.name:
                elsewhere.add(folder.run)
                continue
        except UserError as error:
            findings += [
                Problem(code=problem.code, message=problem.message, place=folder.run, fix=f"`launcher down {folder.run}` removes it")
                for problem in error.problems
            ]
            continue
        sizes[folder.run] = disk_use(Path(record.output_dir)) if Path(record.output_dir).is_dir() else 0
        findings += _about_run(folder, record)
    if run is None:
        findings += _about_machine(backend)
    return Examination(
        runs=tuple(folder.run for folder in folders if folder.run not in elsewhere), disk_bytes=sizes, findings=tuple(findings)
    )


def _about_run(folder: RunFolder, record: RunRecord) -> Iterator[Problem]:
    output_dir = Path(record.output_dir)
    if record.state == "lost":
        yield Problem(
            code="lost",
            message="the record says it is at work, but its supervisor and its training process are gone",
            place=record.run,
            fix=f"`launcher resume {record.run}` goes on; `launcher stop {record.run}` leaves it stopped",
        )
    if record.state == "orphaned":
        yield Problem(
            code="orphaned",
            message=f"its training process (group {record.process_group}) lives without a supervisor",
            place=record.run,
            fix=f"`launcher resume {record.run}` takes it over from its newest checkpoint; `launcher stop {record.run}` ends it",
        )
    if not output_dir.is_dir():
        yield Problem(
            code="missing-output",
            message=f"its output folder is gone: {output_dir}",
            place=record.run,
            fix=f"`launcher down {record.run} --delete` forgets the run",
        )
    elif (owner := owner_of(output_dir)) != record.run:
        yield Problem(
            code="foreign-output",
            message=f"its output folder now belongs to {owner or 'no run'}: {output_dir}",
            place=record.run,
            fix="move that folder away, or forget one of the two runs with `launcher down RUN --delete`",
        )
    # An orphan still writes, and what it has half written is no leftover.
    if record.state not in (*ACTIVE, "orphaned") and (left := _leftovers(output_dir)):
        yield Problem(
            code="leftover",
            message=f"{len(left)} half-written folder(s), {_mb(sum(map(disk_use, left)))}: {left[0]}",
            place=record.run,
            fix=f"`launcher down {record.run}` removes them and keeps the results",
        )
    unsealed = [str(checkpoint.step) for checkpoint in list_checkpoints(output_dir) if not checkpoint.sealed]
    if unsealed:
        yield Problem(
            code="unsealed",
            message=f"checkpoints without a valid manifest, which no resume will use: step {', '.join(unsealed)}",
            place=record.run,
            fix=f"delete them from {output_dir / CHECKPOINTS}",
        )
    if record.state not in ("done",) and record.python and not Path(record.python).exists():
        yield Problem(
            code="missing-interpreter",
            message=f"its interpreter is gone: {record.python}",
            place=record.run,
            fix="a resume finds or makes another one",
        )
    if folder.log_path.exists() and folder.log_path.stat().st_size > _LONG_LOG_BYTES:
        yield Problem(
            code="long-log",
            message=f"its log has grown to {_mb(folder.log_path.stat().st_size)}: {folder.log_path}",
            place=record.run,
            fix="truncate it if nobody needs it",
        )
    if output_dir.is_dir() and (free := shutil.disk_usage(output_dir).free) < _LOW_DISK_BYTES:
        yield Problem(
            code="disk-low",
            message=f"only {_mb(free)} are free on the disk of {output_dir}",
            place=record.run,
            fix="free space, or lower save_total_limit",
        )


def _about_machine(backend: LocalBackend) -> Iterator[Problem]:
    if not backend.data_root.is_dir():
        return
    for folder in sorted(backend.data_root.glob("runtime-*")):
        if folder.is_dir() and not (folder / "complete").exists():
            yield Problem(
                code="half-made-environment",
                message=f"a Python environment was not finished, {_mb(disk_use(folder))}",
                place=str(folder),
                fix="the next `launcher up` makes it anew; delete the folder if none is planned",
            )


def _leftovers(output_dir: Path) -> list[Path]:
    places = (output_dir, output_dir / CHECKPOINTS)
    return [
        entry for place in places if place.is_dir() for entry in place.iterdir() if entry.name.startswith((STAGING_PREFIX, TRASH_PREFIX))
    ]


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
