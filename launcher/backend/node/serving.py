"""One machine's part in a run, from what the storage knows of it to the exit status SkyPilot is told."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from launcher.backend.local.claim import claim
from launcher.backend.local.overseer import Wish
from launcher.backend.local.processes import adopt_orphans
from launcher.backend.local.runtime_path import runtime_only_path
from launcher.backend.local.supervisor import Supervisor, Terms
from launcher.backend.node.attendance import attend
from launcher.backend.node.beginning import begin, bring_events, record_here
from launcher.backend.node.clock import began_at
from launcher.backend.node.following import follow_head
from launcher.backend.node.guard import hopeless, limits_of
from launcher.backend.node.place import node_environment, read_place
from launcher.backend.node.reporter import PERIOD_S, Reporter
from launcher.backend.node.secrets import with_secrets
from launcher.state.stored_run import StoredRun
from launcher.state.usage import Life
from launcher.task.task import MOVED_ON
from runtime.config.problem import ExitCode
from runtime.config.secrets import handed_secrets
from runtime.expectation import write_expectation
from runtime.record import RunRecord

# What a machine that is told to end is given where no notice says more: Slurm and Kubernetes wait 30 seconds by default.
_TERM_S = 25.0
_ENDED = ("done", "stopped", "failed", "unverified")


def serve(home: Path, environment: Mapping[str, str]) -> int:
    """Train this machine's part of the run; `MOVED_ON` when it goes on elsewhere. Raises UserError for a task or a storage that cannot be used."""
    environment = with_secrets(home, environment)
    place = read_place(environment)
    if place.rank > 0:
        return follow_head(home, place, environment)
    folder, config, stored = begin(home, place)
    attend(folder)
    stored.place.patiently(lambda: stored.place.store.capabilities)
    before = stored.place.patiently(stored.record)
    usage = stored.place.patiently(stored.usage)
    record = record_here(place, config, home, before)
    if record.state in _ENDED and usage.last is not None and usage.last.submission == place.submission:
        # A recovery that comes after the end: the machine was lost between the last word and its exit.
        return record.exit_code or 0
    limits = limits_of(config)
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
    since = bring_events(stored, output_dir)
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


def _log_to(path: Path) -> None:
    """Have this process's own words in the run's log, among those of the training."""
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(descriptor, 2)
    os.close(descriptor)
