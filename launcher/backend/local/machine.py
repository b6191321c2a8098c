"""This machine as a backend: supervised processes, state in the user's state directory, results in the output folder."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.backend.bounds import UNCHANGED, Bounds
from launcher.backend.job import Job
from launcher.backend.local.child_environment import check_secrets, training_environment
from launcher.backend.local.claim import OWN_NAMES, claim, owner_of, release
from launcher.backend.local.interpreter import find_interpreter
from launcher.backend.local.managed import has_nvidia_gpu, make_environment, managed_environment
from launcher.backend.local.processes import end_group, group_members
from launcher.backend.local.start import start_supervisor
from launcher.backend.protocol import ACTIVE, Backend, RunStatus
from launcher.state.lock import is_held, take
from launcher.state.outputs import list_checkpoints
from launcher.state.progress import fold
from launcher.state.refusals import refusal
from launcher.state.runs import RunFolder, create_run, find_run, list_runs
from launcher.state.tail import EventTail, TextTail
from runtime.checkpoint.layout import CHECKPOINTS
from runtime.checkpoint.staging import sweep_staging
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.resources import data_dir
from runtime.config.secrets import check_hub_token, handed_secrets
from runtime.events import read_events
from runtime.expectation import write_expectation
from runtime.record import RunRecord, write_atomic

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBackend:
    """The backend of `--cloud local`. `state_root` holds the runs, `data_root` the managed Python environment; `report` takes a line of progress."""

    state_root: Path
    data_root: Path
    environment: Mapping[str, str]
    report: Callable[[str], None]
    name: str = "local"

    def submit(self, job: Job) -> RunRecord:
        """Start the job under a supervisor of its own. Raises UserError, leaving nothing behind."""
        from runtime.config.load import config_hash, dump_yaml
        from runtime.plugins.files import copy_plugins

        launch = job.config.launch
        check_secrets(launch.secrets, self.environment)
        check_hub_token(job.config, self.environment)
        python = self.interpreter()
        folder = create_run(self.state_root, job.run)
        output_dir = Path(job.config.output_dir)
        record = RunRecord(
            run=job.run,
            recipe=job.recipe,
            output_dir=str(output_dir),
            storage=launch.storage,
            created=time.time(),
            processes=launch.processes or _gpu_count(self.environment) or 1,
            python=str(python),
            cwd=str(job.cwd),
            chaos=list(job.chaos),
            config_hash=config_hash(job.config),
            sweep=job.sweep,
            values=dict(job.values),
            after=job.after,
        )
        try:
            claim(output_dir, record)
            text = dump_yaml(job.config).encode()
            write_atomic(folder.config_path, text)
            if job.expected_gib is not None:
                write_expectation(folder.path, peak_gib=job.expected_gib)
            copy_plugins(job.config, folder.path)
            write_atomic(output_dir / "config.yml", text)
            self._start(folder, record, handed_secrets(job.config))
        except BaseException as error:
            if not is_held(folder.lock_path):
                release(output_dir, folder.run)
                shutil.rmtree(folder.path, ignore_errors=True)
            if isinstance(error, OSError):
                raise UserError(refusal(error, output_dir)) from error
            raise
        return record

    def look(self, run: str) -> RunRecord:
        """The run's record with its state as found: `lost` or `orphaned` when the supervisor is gone."""
        folder = self._folder(run)
        # The lock first: a supervisor that ends writes its last record before it lets go, so a free lock means that the record read next is final.
        served = is_held(folder.lock_path)
        record = folder.record()
        if served or record.state not in ACTIVE:
            return record
        alive = group_members(record.process_group, record.process_started)
        return record.model_copy(update={"state": "orphaned" if alive else "lost"})

    def status(self, run: str) -> RunStatus:
        """The run with its progress and checkpoints."""
        record = self.look(run)
        output_dir = Path(record.output_dir)
        return RunStatus(
            record=record, progress=fold(read_events(output_dir / "events.jsonl")), checkpoints=tuple(list_checkpoints(output_dir))
        )

    def runs(self) -> list[RunRecord]:
        """The records of all runs, the newest first; runs whose record cannot be read are left to `doctor`."""
        records = []
        for folder in list_runs(self.state_root):
            try:
                records.append(self.look(folder.run))
            except UserError:
                continue
        return records

    def unreadable(self) -> list[str]:
        """Runs whose record is missing or broken."""
        names = []
        for folder in list_runs(self.state_root):
            try:
                folder.record()
            except UserError:
                names.append(folder.run)
        return names

    def events(self, run: str) -> EventTail:
        """The run's events from its first on."""
        return EventTail(Path(self._folder(run).record().output_dir) / "events.jsonl")

    def log(self, run: str) -> TextTail:
        """The run's log from its first line on."""
        return TextTail(self._folder(run).log_path)

    def stop(self, run: str) -> None:
        """Ask for a stop at a sealed checkpoint; a run without a supervisor is ended here and now."""
        record = self.look(run)
        if record.state in ACTIVE:
            self._signal_supervisor(run, signal.SIGTERM)
        elif record.state in ("lost", "orphaned"):
            self._settle(run)

    def resume(self, run: str, bounds: Bounds = UNCHANGED, *, after: str | None = None) -> RunRecord:
        """Start the run again from its newest sealed checkpoint, once the run `after` has ended. Raises UserError when it is at work or done."""
        folder = self._folder(run)
        record = self.look(run)
        if record.state in ACTIVE:
            raise UserError(
                Problem(code="run-active", message=f"run '{run}' is at work ({record.state})", fix=f"`launcher logs {run} -f` follows it")
            )
        if record.state == "done":
            raise UserError(
                Problem(
                    code="run-done",
                    message=f"run '{run}' is done",
                    fix=f"`launcher chat {run}` talks to its model, `launcher pull {run}` copies it",
                )
            )
        config = _config(folder)
        check_secrets(config.launch.secrets, self.environment)
        check_hub_token(config, self.environment)
        if not Path(record.cwd).is_dir():
            raise UserError(
                Problem(
                    code="missing-file",
                    message="the folder this run was started in is gone",
                    place=record.cwd,
                    fix="create it again; the recipe's relative paths start there",
                )
            )
        if record.state == "orphaned":
            self._settle(run)
        if not Path(record.python).exists():
            record.python = str(self.interpreter())
        record.state, record.exit_code, record.message, record.supervisor_pid = "starting", None, "", None
        record.process_group, record.process_started, record.after = None, None, after
        claim(Path(record.output_dir), record)
        if bounds.given:
            write_atomic(folder.config_path, bounds.over_config(folder.config_path.read_text(encoding="utf-8")).encode())
        self._start(folder, record, handed_secrets(config))
        return record

    def release(self, run: str) -> None:
        """Nothing: a run that has ended holds nothing here."""

    def bill(self, run: str) -> list[str]:  # noqa: ARG002 - the Protocol's signature
        """Nothing: this machine is not rented."""
        return []

    def down(self, run: str, *, delete: bool) -> list[Problem]:
        """End the run's processes, remove half-written checkpoints, and with `delete` its results and its record."""
        folder = self._folder(run)
        try:
            record = self.look(run)
        except UserError:
            # Without a record there are no processes to find and no output to know of.
            shutil.rmtree(folder.path)
            return []
        if record.state in ACTIVE:
            self._end_supervisor(run)
        self._settle(run)
        output_dir = Path(record.output_dir)
        for place in (output_dir, output_dir / CHECKPOINTS):
            sweep_staging(place)
        if not delete:
            return []
        left = _delete_output(output_dir, run)
        if record.storage:
            left.append(
                Problem(code="kept", message="the copy in storage was kept", place=record.storage, fix="remove it there if it is of no use")
            )
        shutil.rmtree(folder.path)
        return left

    def interpreter(self) -> Path:
        """The interpreter that trains; made on first use."""
        managed = managed_environment(self.data_root, data_dir("images") / "requirements-train.txt", with_gpu=has_nvidia_gpu())
        return find_interpreter(self.environment, managed=managed.ready, make=lambda: make_environment(managed, report=self.report))

    def _folder(self, run: str) -> RunFolder:
        return find_run(self.state_root, run)

    def _start(self, folder: RunFolder, record: RunRecord, secrets: Sequence[str]) -> None:
        lock = take(folder.lock_path)
        if lock is None:
            raise UserError(
                Problem(
                    code="run-active",
                    message=f"run '{folder.run}' is being started by somebody else",
                    fix=f"`launcher status {folder.run}` shows it",
                )
            )
        folder.save(record)
        start_supervisor(folder, lock=lock, environment=training_environment(self.environment, secrets=secrets), cwd=Path(record.cwd))

    def _signal_supervisor(self, run: str, number: signal.Signals) -> None:
        folder = self._folder(run)
        give_up = time.monotonic() + 30
        while is_held(folder.lock_path) and time.monotonic() < give_up:
            # A supervisor that has just been started has not written its pid yet.
            if (pid := folder.record().supervisor_pid) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                    return
            time.sleep(_PERIOD_S)

    def _end_supervisor(self, run: str) -> None:
        """Let the supervisor seal and end; kill it when that takes longer than it may."""
        folder = self._folder(run)
        grace_s = _grace_s(folder)
        self._signal_supervisor(run, signal.SIGTERM)
        give_up = time.monotonic() + grace_s + 15
        while is_held(folder.lock_path) and time.monotonic() < give_up:
            time.sleep(_PERIOD_S)
        if is_held(folder.lock_path):
            self._signal_supervisor(run, signal.SIGKILL)

    def _settle(self, run: str) -> None:
        """Bring a run whose supervisor is gone to rest: no process of its group lives, and its record says so."""
        folder = self._folder(run)
        record = self.look(run)
        if record.state not in ("lost", "orphaned"):
            return
        if record.process_group is not None:
            grace_s = _grace_s(folder)
            if sys.platform == "linux":
                # It got SIGTERM when its supervisor died and may be sealing; a second request would cut that short.
                give_up = time.monotonic() + grace_s
                while group_members(record.process_group, record.process_started) and time.monotonic() < give_up:
                    time.sleep(_PERIOD_S)
                grace_s = 0
            end_group(record.process_group, record.process_started, grace_s=grace_s)
        record.state, record.exit_code, record.message = "stopped", int(ExitCode.INTERRUPTED), "its supervisor had died"
        record.process_group = record.process_started = None
        folder.save(record)


def _config(folder: RunFolder) -> TrainingConfig:
    """The run's own config. Raises UserError when that file is missing or broken."""
    from runtime.config.load import load_config

    config = load_config(folder.config_path).config
    assert config is not None
    return config


def _grace_s(folder: RunFolder) -> float:
    """Seconds the run's training process may take to seal; none when the run's config cannot be read any more."""
    try:
        return _config(folder).launch.recovery.grace_s
    except UserError:
        return 0.0


def _delete_output(output_dir: Path, run: str) -> list[Problem]:
    """Remove what the run put into its output folder; files of others stay and are named."""
    if not output_dir.is_dir():
        return []
    if (owner := owner_of(output_dir)) != run:
        return [Problem(code="kept", message=f"the output folder belongs to {owner or 'no run'} and was kept", place=str(output_dir))]
    for name in OWN_NAMES:
        path = output_dir / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    left = sorted(entry.name for entry in output_dir.iterdir())
    if left:
        return [Problem(code="kept", message=f"files that this run did not write were kept: {', '.join(left[:8])}", place=str(output_dir))]
    output_dir.rmdir()
    return []


def _gpu_count(environment: Mapping[str, str]) -> int:
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([item for item in visible.split(",") if item.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def as_backend(backend: LocalBackend) -> Backend:
    """The same object under the type the command line knows; the type checker proves here that it keeps the Protocol."""
    return backend
