"""One machine's part in a run, from what the storage knows of it to the exit status SkyPilot is told."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import yaml

from launcher.backend.local.claim import claim
from launcher.backend.local.overseer import Wish
from launcher.backend.local.processes import adopt_orphans
from launcher.backend.local.runtime_path import runtime_only_path
from launcher.backend.local.supervisor import Supervisor, Terms
from launcher.backend.node.attendance import attend
from launcher.backend.node.clock import began_at
from launcher.backend.node.guard import Limits, hopeless
from launcher.backend.node.place import Place, read_place
from launcher.backend.node.preparing import backend_here
from launcher.backend.node.reporter import PERIOD_S, Reporter
from launcher.backend.node.secrets import with_google_key
from launcher.state.runs import RunFolder
from launcher.state.stored_inputs import fetch_inputs
from launcher.state.stored_run import EVENTS, StoredRun, StoredText
from launcher.state.usage import Life
from launcher.task.inputs import INPUTS
from launcher.task.task import MOVED_ON
from runtime.checkpoint.store import open_store
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.secrets import handed_secrets
from runtime.expectation import write_expectation
from runtime.plugins.loading import FOLDER
from runtime.record import RunRecord, write_atomic

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

# What a machine that is told to end is given where no notice says more: Slurm and Kubernetes wait 30 seconds by default.
_TERM_S = 25.0
_ENDED = ("done", "stopped", "failed", "unverified")


def serve(home: Path, environment: Mapping[str, str]) -> int:
    """Train this machine's part of the run; `MOVED_ON` when it goes on elsewhere. Raises UserError for a task or a storage that cannot be used."""
    environment = with_google_key(home, environment)
    place = read_place(environment)
    if place.rank > 0:
        from launcher.backend.node.following import follow_head

        return follow_head(home, place, environment)
    folder, config, stored = begin(home, place)
    attend(folder)
    stored.place.patiently(lambda: stored.place.store.capabilities)
    before = stored.place.patiently(stored.record)
    usage = stored.place.patiently(stored.usage)
    record = _record(place, config, home, before)
    if record.state in _ENDED and usage.last is not None and usage.last.submission == place.submission:
        # A recovery that comes after the end: the machine was lost between the last word and its exit.
        return record.exit_code or 0
    limits = _limits(config)
    refusal = hopeless(limits, usage)
    stop = stored.place.patiently(lambda: stored.stop_reason(place.submission))
    if refusal is not None or stop is not None:
        return _not_begun(stored, record, refusal=refusal, stop=stop)
    life = Life(
        number=1 + max((life.number for life in usage.lives), default=0),
        submission=place.submission,
        writer=secrets.token_hex(6),
        where=place.where,
        began=began_at(home, now=time.time()),
        beat=time.time(),
        usd_per_h=place.usd_per_h,
        sealed_step=max((life.sealed_step for life in usage.lives), default=-1),
    )
    usage.lives.append(life)
    output_dir = Path(record.output_dir)
    claim(output_dir, record)
    since = _bring_events(stored, output_dir)
    folder.save(record)
    if place.expected_gib is not None:
        write_expectation(folder.path, peak_gib=place.expected_gib)
    _log_to(folder.log_path)
    reporter = Reporter(
        stored=stored,
        folder=folder,
        output_dir=output_dir,
        usage=usage,
        life=life,
        limits=limits,
        submission=place.submission,
        since=since,
        period_s=float(environment.get("LAUNCHER_REPORT_S") or PERIOD_S),
    )
    supervisor = Supervisor(
        folder=folder,
        record=record,
        terms=Terms(
            grace_s=config.launch.recovery.grace_s,
            max_deaths=config.launch.recovery.max_restarts_without_progress,
            max_hours=None,
            secrets=handed_secrets(config),
        ),
        environment=node_environment(environment, place),
        runtime_path=runtime_only_path(folder.path.parent.parent),
        overseer=reporter,
        together=place.nodes > 1,
    )
    return _supervise(supervisor, reporter)


def _supervise(supervisor: Supervisor, reporter: Reporter) -> int:
    adopt_orphans()

    def told(number: int, _frame: FrameType | None) -> None:
        # Nobody types Ctrl-C here: whoever sends a signal takes the machine away. A wish to stop comes by the storage.
        reporter.leave = reporter.leave or Wish(
            kind="leave", reason=f"the machine was told to end ({signal.Signals(number).name})", deadline_s=_TERM_S
        )

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, told)
    reporter.start()
    try:
        code = supervisor.run()
    finally:
        reporter.close()
    return MOVED_ON if supervisor.record.state == "recovering" else int(code)


def _not_begun(stored: StoredRun, record: RunRecord, *, refusal: str | None, stop: str | None) -> int:
    """A life that ends before it begins: the run is to stop, or has shown that it comes to nothing."""
    if stop is not None:
        record.state, record.exit_code, record.message = "stopped", int(ExitCode.INTERRUPTED), stop
    else:
        record.state, record.exit_code, record.message = "failed", int(ExitCode.TRAINING_FAILED), refusal or ""
    stored.place.patiently(lambda: stored.write_record(record))
    sys.stderr.write(f"{record.message}\n")
    return record.exit_code


def begin(home: Path, place: Place) -> tuple[RunFolder, TrainingConfig, StoredRun]:
    """The run's state folder here with its config, plugins and inputs, its config as read, and its storage. Raises UserError."""
    folder = RunFolder(path=home / "state" / "runs" / place.run)
    folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(folder.config_path, place.config_text.encode())
    stored = StoredRun(place=_place_of(_storage_in(place.config_text), place.run))
    # Before the config is read, since its plugins are among them. A task started by hand has brought its inputs along.
    fetch_inputs(stored, home / INPUTS)
    plugins = home / INPUTS / FOLDER
    link = folder.path / FOLDER
    if plugins.is_dir() and not link.exists():
        link.symlink_to(plugins, target_is_directory=True)
    from runtime.config.load import load_config

    checked = load_config(folder.config_path)
    assert checked.config is not None
    return folder, checked.config, stored


def node_environment(environment: Mapping[str, str], place: Place) -> dict[str, str]:
    """The environment of the training process: with where the other machines are, when there are any."""
    several = {
        "LAUNCHER_NODES": str(place.nodes),
        "LAUNCHER_NODE_RANK": str(place.rank),
        "LAUNCHER_HEAD": place.addresses[0],
    }
    return {**environment, **(several if place.nodes > 1 else {})}


def _storage_in(config_text: str) -> str | None:
    content = yaml.safe_load(config_text)
    launch = content.get("launch") if isinstance(content, dict) else None
    storage = launch.get("storage") if isinstance(launch, dict) else None
    return storage if isinstance(storage, str) else None


def _place_of(storage: str | None, run: str) -> RunStore:
    if storage is None:
        raise UserError(
            Problem(
                code="missing",
                path="launch.storage",
                message="a rented machine keeps nothing, so a run there needs a storage",
                fix="add --storage s3://BUCKET/PREFIX (or gs://, az://)",
            )
        )
    return RunStore(store=open_store(storage), run=run)


def _record(place: Place, config: TrainingConfig, home: Path, before: RunRecord | None) -> RunRecord:
    from runtime.config.load import config_hash

    here = RunRecord(
        run=place.run,
        recipe=place.recipe or place.run,
        backend="sky",
        output_dir=str(home / config.output_dir),
        storage=config.launch.storage,
        created=time.time(),
        processes=config.launch.processes or 1,
        python=str(backend_here(home, os.environ).interpreter()),
        cwd=str(home),
        chaos=list(place.chaos),
        config_hash=config_hash(config),
    )
    if before is None:
        return here
    kept = {
        "recipe": before.recipe,
        "created": before.created,
        "attempts": before.attempts,
        "state": before.state,
        "exit_code": before.exit_code,
    }
    return here.model_copy(update=kept)


def _limits(config: TrainingConfig) -> Limits:
    launch = config.launch
    return Limits(
        max_cost_usd=launch.max_cost_usd,
        max_hours=launch.max_hours,
        stall_s=launch.stall_minutes * 60 if launch.stall_minutes is not None else None,
        # To seal and to send; a twentieth of a short cap is enough of it.
        reserve_s=min(launch.recovery.grace_s + 60.0, *([launch.max_hours * 180.0] if launch.max_hours else [float("inf")])),
        max_fruitless=launch.recovery.max_restarts_without_progress,
    )


def _bring_events(stored: StoredRun, output_dir: Path) -> int:
    """Continue the event log of the machines before; returns how many bytes of it the storage has already."""
    path = output_dir / "events.jsonl"
    text = StoredText(place=stored.place, name=EVENTS).rest()
    content = text.encode()
    if not path.exists():
        output_dir.mkdir(parents=True, exist_ok=True)
        if content:
            write_atomic(path, content)
    with suppress(OSError):
        # On the same machine again: what was written and not told before is told now.
        return min(path.stat().st_size, len(content)) if path.exists() else 0
    return 0


def _log_to(path: Path) -> None:
    """Have this process's own words in the run's log, among those of the training."""
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(descriptor, 2)
    os.close(descriptor)
