"""The record of a run: who it is, where its files are, what state it is in. Kept as `run.json`, always replaced whole."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from runtime.config.problem import ExitCode, Problem, UserError

RunState = Literal[
    "starting", "preparing", "training", "publishing", "recovering", "done", "stopped", "failed", "unverified", "lost", "orphaned"
]


SCHEMA_VERSION = 1


class Attempt(BaseModel):
    """One life of the training process."""

    model_config = ConfigDict(extra="ignore")

    number: int
    started: float
    ended: float | None = None
    exit_status: int | None = Field(None, description="Exit code, or minus the signal number, as subprocess reports it.")
    resumed_from_step: int | None = None
    reason: str = ""


class RunRecord(BaseModel):
    """Everything another terminal, or another machine, needs to find and continue a run. Times are Unix seconds."""

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1] = 1
    run: str
    recipe: str
    backend: str = "local"
    output_dir: str
    storage: str | None = None
    created: float
    state: RunState = "starting"
    processes: int = 1
    python: str = ""
    cwd: str = Field(default="", description="Folder the recipe's relative paths start from: where the run was submitted.")
    chaos: list[str] = Field(default_factory=list)
    attempts: list[Attempt] = Field(default_factory=list)
    supervisor_pid: int | None = None
    process_group: int | None = None
    process_started: float | None = None
    config_hash: str = ""
    sweep: str | None = Field(default=None, description="Name that the runs of one grid share; None for a run of its own.")
    values: dict[str, str] = Field(
        default_factory=dict, description="What this run of a sweep has of each varied option, as it was written."
    )
    after: str | None = Field(default=None, description="Run on the same machine whose end this one waits for; None once it has begun.")
    exit_code: int | None = None
    message: str = ""

    @property
    def resumes(self) -> int:
        """How many attempts went on from a sealed checkpoint."""
        return sum(attempt.resumed_from_step is not None for attempt in self.attempts)


def read_record(path: Path) -> RunRecord | None:
    """The record in `path`, None when there is none. Raises UserError when the file is not a run record."""
    content = b""
    try:
        content = path.read_bytes()
        return RunRecord.model_validate(json.loads(content))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(bad_record(content, str(error), str(path)), exit_code=ExitCode.INVALID) from error


def bad_record(content: bytes, reason: str, place: str) -> Problem:
    """What is wrong with a record that cannot be read: `newer-format` where a newer version of this program has written it, else `bad-record`."""
    with suppress(ValueError, TypeError, AttributeError):
        version = json.loads(content).get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            return Problem(
                code="newer-format",
                message=f"this run record has format {version}; this version of finetune-launcher reads {SCHEMA_VERSION}",
                place=place,
                fix="pip install --upgrade finetune-launcher",
            )
    return Problem(
        code="bad-record", message=f"cannot read this run record: {reason}", place=place, fix="remove the file if the run is of no use"
    )


def write_record(path: Path, record: RunRecord) -> None:
    """Replace `path` by `record` in one step: a reader sees the old record or the new one, never half of one."""
    write_atomic(path, record.model_dump_json(indent=1).encode() + b"\n")


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content` durably: written beside it, flushed to disk, renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
