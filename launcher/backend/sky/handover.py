"""Giving a submission to SkyPilot: what it is told, under which number it goes, and how its secrets travel."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from launcher.backend.sky.cloud import Cloud
from launcher.backend.sky.key_file import drop_key, write_key
from launcher.backend.sky.submission import FILE, Submission, write_submission
from launcher.state.runs import RunFolder
from launcher.state.stored_run import StoredRun
from launcher.task.envelope import KEYS, SEALED, seal
from launcher.task.surroundings import GOOGLE_FILE, GOOGLE_KEY
from launcher.task.task import HOME
from launcher.task.wheel import write_wheel
from runtime.record import RunRecord

# Secrets that SkyPilot itself reads: the login to a registry of images.
_FOR_SKYPILOT = "SKYPILOT_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """`environment` holds the values of the secrets; `report` takes a line of progress."""

    cloud: Cloud
    environment: Mapping[str, str]
    report: Callable[[str], None]

    def give(self, folder: RunFolder, stored: StoredRun, record: RunRecord, submission: Submission) -> None:
        """Write the submission down, here and in the run's storage, and have SkyPilot start it. Raises UserError when it does not."""
        submission = submission.model_copy(update={"here": True})
        write_submission(folder.path, submission)
        folder.save(record)
        stored.place.patiently(lambda: stored.write_record(record))
        stored.place.patiently(lambda: stored.write_json(FILE, submission.for_others()))
        try:
            number = self._launch(folder, submission)
        except KeyboardInterrupt:
            self.report(
                f"interrupted while SkyPilot was at work on it, which may go on and cost money: "
                f"`launcher status {folder.run}` shows it, `launcher down {folder.run}` ends it"
            )
            raise
        except BaseException:
            drop_key(folder)
            raise
        known = submission.model_copy(update={"number": number})
        write_submission(folder.path, known)
        stored.place.patiently(lambda: stored.write_json(FILE, known.for_others()))

    def _launch(self, folder: RunFolder, submission: Submission) -> int:
        content = yaml.safe_load(submission.task)
        _bring_wheel(content, folder.path)
        open_values, sealed = self._secrets(content, folder, submission)
        # The id is no part of the task's text, which a resume submits again.
        variables = {"LAUNCHER_SUBMISSION": submission.id}
        job = submission.kind == "job"
        self.report(
            "handing the run to SkyPilot as a managed job, which finds another machine when one is taken away"
            if job
            else "having SkyPilot start a machine"
        )
        launch = self.cloud.launch_job if job else self.cloud.launch_cluster
        return launch(
            yaml.safe_dump(content, sort_keys=False),
            name=submission.name,
            variables=variables,
            secrets=open_values | sealed,
            hidden=submission.secrets,
            report=self.report,
        )

    def _secrets(self, content: dict[str, Any], folder: RunFolder, submission: Submission) -> tuple[dict[str, str], dict[str, str]]:
        """The secrets SkyPilot is told as they are, and all others in one that it cannot read: it keeps what it is told in files of its own."""
        values = self._values(submission.secrets)
        plain = {name: value for name, value in values.items() if name.startswith(_FOR_SKYPILOT)}
        hidden = {name: value for name, value in values.items() if name not in plain}
        content["secrets"] = dict.fromkeys(plain)
        if not hidden:
            return plain, {}
        sealed, key = seal(hidden)
        content["secrets"][SEALED] = None
        content["file_mounts"] = {**(content.get("file_mounts") or {}), f"{HOME}/{KEYS}/{submission.id}": str(write_key(folder, key))}
        return plain, {SEALED: sealed}

    def _values(self, names: list[str]) -> dict[str, str]:
        values = {name: self.environment[name] for name in names if self.environment.get(name)}
        if GOOGLE_KEY in names and (path := self.environment.get(GOOGLE_FILE)):
            values[GOOGLE_KEY] = Path(path).read_text(encoding="utf-8")
        return values


def new_id(now: float) -> str:
    """A word for a submission that no other has; `now` is Unix seconds."""
    return f"{int(now)}-{secrets.token_hex(4)}"


def _bring_wheel(content: dict[str, Any], folder: Path) -> None:
    """Have the task bring a wheel that is here: on another computer than the one that submitted the run first, that one's is not."""
    mounts = content.get("file_mounts") or {}
    wheels = {target: source for target, source in mounts.items() if target.startswith(f"{HOME}/wheel/")}
    if not wheels or all(Path(source).is_file() for source in wheels.values()):
        return
    wheel = write_wheel(folder / "wheel")
    content["file_mounts"] = {target: source for target, source in mounts.items() if target not in wheels} | {
        f"{HOME}/wheel/{wheel.name}": str(wheel)
    }
