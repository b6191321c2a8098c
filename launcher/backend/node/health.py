"""Whether a container that trains is well, for whoever would start it again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.backend.node.preparing import backend_here

_UNATTENDED = ("lost", "orphaned")


def health(home: Path, environment: Mapping[str, str]) -> int:
    """0 while every run here is attended, has ended, or there is none; 1 when its supervisor is gone. Says which on stderr."""
    unattended = [record for record in backend_here(home, environment).runs() if record.state in _UNATTENDED]
    for record in unattended:
        print(f"{record.run} is {record.state}: nobody attends to it", file=sys.stderr)  # noqa: T201 - what a health check says is kept by who asked
    return 1 if unattended else 0
