"""The run's secrets on its machine: opened with the key that came apart from them, and put where the libraries look."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from launcher.task.envelope import KEYS, SEALED, unseal
from launcher.task.surroundings import GOOGLE_FILE, GOOGLE_KEY
from runtime.config.problem import Problem, UserError


def with_secrets(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the secrets that were sealed for this submission, if any. Raises UserError when they cannot be opened."""
    found = dict(environment)
    sealed = found.pop(SEALED, None)
    if sealed:
        values = unseal(sealed, _key(home, environment.get("LAUNCHER_SUBMISSION", "")))
        found |= values
        # The store is opened by this process too.
        os.environ.update(values)
        os.environ.pop(SEALED, None)
    return _with_google_key(home, found)


def _key(home: Path, submission: str) -> str:
    path = home / KEYS / submission
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            Problem(
                code="bad-secrets",
                message="the key of the run's secrets did not come to this machine",
                place=str(path),
                fix="submit the run again with `launcher resume RUN`",
            )
        ) from error


def _with_google_key(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with Google's key as the file its client library reads, when the task brought one."""
    found = dict(environment)
    key = found.pop(GOOGLE_KEY, None)
    if not key:
        return found
    home.mkdir(parents=True, exist_ok=True)
    path = home / "google.json"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(key)
    found[GOOGLE_FILE] = str(path)
    os.environ[GOOGLE_FILE] = str(path)
    os.environ.pop(GOOGLE_KEY, None)
    return found
