"""The key of a submission's secrets, in a file that this user alone may read, for as long as SkyPilot may bring it to another machine."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.state.runs import RunFolder

_NAME = "secrets.key"


def write_key(folder: RunFolder, key: str) -> Path:
    """The file, now with `key` in it."""
    drop_key(folder)
    path = folder.path / _NAME
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(key)
    return path


def drop_key(folder: RunFolder) -> None:
    """Remove it: what SkyPilot has kept of the secrets is of no use then."""
    (folder.path / _NAME).unlink(missing_ok=True)
