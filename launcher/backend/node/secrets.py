"""Credentials that a library wants as a file, put into one that only this user may read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from launcher.task.surroundings import GOOGLE_FILE, GOOGLE_KEY


def with_google_key(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
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
    # The store is opened by this process too.
    os.environ[GOOGLE_FILE] = str(path)
    os.environ.pop(GOOGLE_KEY, None)
    return found
