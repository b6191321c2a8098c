"""Before a run: the Python environment it trains in."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.backend.local.machine import LocalBackend


def backend_here(home: Path, environment: Mapping[str, str]) -> LocalBackend:
    """This machine as the backend it is to itself, with everything below `home`."""
    return LocalBackend(
        state_root=home / "state",
        data_root=home / "data",
        environment=dict(environment),
        report=lambda line: print(line, file=sys.stderr, flush=True),  # noqa: T201 - this is the machine's log
    )


def prepare(home: Path, environment: Mapping[str, str]) -> int:
    """0 once there is an interpreter with the training stack: the machine's own, one that is named, or one made now. Raises UserError."""
    python = backend_here(home, environment).interpreter()
    print(f"training with {python}", flush=True)  # noqa: T201 - as above
    return 0
