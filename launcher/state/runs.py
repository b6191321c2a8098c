"""The registry of runs on this computer: one folder a run under the user's state directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launcher.state.names import random_name
from launcher.state.refusals import refusal
from runtime.config.problem import Problem, UserError
from runtime.record import RunRecord, read_record, write_record


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """The state folder of one run; its name is the run's id."""

    path: Path

    @property
    def run(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def record_path(self) -> Path:
        """`run.json`, the record only the run's supervisor writes while it lives."""
        return self.path / "run.json"

    @property
    def config_path(self) -> Path:
        """`config.yml`, the plain training config the run was started with."""
        return self.path / "config.yml"

    @property
    def log_path(self) -> Path:
        """`log.txt`, what the training processes and the supervisor printed."""
        return self.path / "log.txt"

    @property
    def lock_path(self) -> Path:
        """`supervisor.lock`, held as long as the supervisor lives."""
        return self.path / "supervisor.lock"

    @property
    def notice_path(self) -> Path:
        """`notice.json`, why the training process was asked to stop."""
        return self.path / "notice.json"

    def record(self) -> RunRecord:
        """The run's record. Raises UserError when it is missing or broken."""
        record = read_record(self.record_path)
        if record is None:
            raise UserError(
                Problem(
                    code="bad-record",
                    message="this run has no record",
                    place=str(self.path),
                    fix=f"it never started; `launcher down {self.run}` removes what is left",
                ),
            )
        return record

    def save(self, record: RunRecord) -> None:
        """Replace the record, here and in the run's output folder when that exists."""
        write_record(self.record_path, record)
        output_dir = Path(record.output_dir)
        if output_dir.is_dir():
            write_record(output_dir / "run.json", record)


def state_root(environment: Mapping[str, str] | None = None) -> Path:
    """The launcher's state folder: LAUNCHER_STATE_DIR, or the user's state directory."""
    environment = os.environ if environment is None else environment
    if chosen := environment.get("LAUNCHER_STATE_DIR"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("finetune-launcher", appauthor=False)


def list_runs(root: Path) -> list[RunFolder]:
    """All runs, the newest first."""
    return [RunFolder(path=path) for path in sorted(_run_entries(root), key=_created, reverse=True)]


def find_run(root: Path, name: str) -> RunFolder:
    """The run called `name`, or the only one whose name starts with it. Raises UserError when there is none or more than one."""
    exact = root / "runs" / name
    if name and "/" not in name and exact.is_dir():
        return RunFolder(path=exact)
    matches = [entry for entry in _run_entries(root) if name and entry.name.startswith(name)]
    if len(matches) == 1:
        return RunFolder(path=matches[0])
    if matches:
        names = ", ".join(sorted(entry.name for entry in matches)[:8])
        raise UserError(
            Problem(code="ambiguous-run", message=f"{len(matches)} runs begin with '{name}': {names}", fix="give more of the name")
        )
    raise UserError(Problem(code="unknown-run", message=f"there is no run '{name}'", fix="`launcher ps` lists the runs"))


def create_run(root: Path, name: str | None = None) -> RunFolder:
    """A new, empty run folder, called `name` or a random name. Raises UserError when the name is taken or the folder cannot be made."""
    runs = root / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            path = runs / (name or random_name())
            try:
                # Configs name data and models; they are nobody else's business on a shared computer.
                path.mkdir(mode=0o700)
            except FileExistsError:
                if name is None:
                    continue
                raise UserError(
                    Problem(
                        code="run-exists",
                        message=f"there is already a run called '{name}'",
                        fix=f"`launcher resume {name}` goes on with it; choose another --name for a new run, or remove it with `launcher down {name} --delete`",
                    )
                ) from None
            return RunFolder(path=path)
    except OSError as error:
        problem = refusal(error, runs)
        raise UserError(
            Problem(
                code=problem.code,
                message=f"cannot keep the state of runs: {problem.message}",
                place=str(runs),
                fix="set LAUNCHER_STATE_DIR to a folder you may write to",
            )
        ) from error


def _run_entries(root: Path) -> list[Path]:
    runs = root / "runs"
    return [entry for entry in runs.iterdir() if entry.is_dir() and not entry.name.startswith(".")] if runs.is_dir() else []


def _created(path: Path) -> float:
    try:
        record = read_record(path / "run.json")
    except UserError:
        record = None
    return record.created if record is not None else path.stat().st_mtime
