"""One submission of a run: what SkyPilot was given, under which number. Kept beside the run's record, here and in its storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.config.problem import Problem, UserError
from runtime.record import write_atomic

FILE = "submission.json"


class Submission(BaseModel):
    """What another computer needs to find the job, and to submit it again. No secret is in it."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(description="New for each `up` and `resume`.")
    kind: Literal["job", "cluster"]
    name: str = Field(description="Name of the managed job, or of the cluster.")
    number: int | None = Field(default=None, description="Number of the job; None until SkyPilot has told it.")
    submitted: float = Field(description="Unix seconds.")
    usd_per_h: float | None = Field(default=None, description="Price of the dearest machine it may take; None when none is known.")
    task: str = Field(description="The task, as YAML.")
    secrets: list[str] = Field(default_factory=list, description="Names of the secrets it is given.")
    here: bool = Field(default=False, description="Whether the SkyPilot of this computer was given it. Not told to others.")

    def for_others(self) -> dict[str, Any]:
        """What the storage tells other computers."""
        return self.model_dump(exclude={"here"})


def read_submission(folder: Path) -> Submission:
    """The submission kept in `folder`. Raises UserError when there is none."""
    path = folder / FILE
    try:
        return Submission.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise UserError(
            Problem(
                code="bad-record",
                message="what was submitted for this run is not known here",
                place=str(path),
                fix="`launcher doctor` lists what is rented; `launcher down RUN` forgets the run",
            )
        ) from error


def write_submission(folder: Path, submission: Submission) -> None:
    """Keep it. The file is for this user alone, as the recipe is."""
    write_atomic(folder / FILE, submission.model_dump_json(indent=1).encode() + b"\n")
    (folder / FILE).chmod(0o600)
