"""Starting a supervisor so that it outlives the launcher and its terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import launcher
from launcher.state.runs import RunFolder

_STOPS = {signal.SIGTERM, signal.SIGINT}


def start_supervisor(folder: RunFolder, *, lock: int, environment: Mapping[str, str], cwd: Path) -> None:
    """Start the run's supervisor in a session of its own and hand it `lock`, the descriptor that holds the run's lock; ours is closed.

    The lock changes hands without a gap, and stop signals wait until the supervisor listens, so that nobody sees the run unattended and no request is lost.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        with folder.log_path.open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-P", "-m", "launcher.backend.local.supervisor", str(folder.path), "--lock-fd", str(lock)],
                env={**environment, **_import_path()},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
            )
    finally:
        os.close(lock)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _import_path() -> dict[str, str]:
    """PYTHONPATH for a launcher that runs from a checkout. An installed one is found without, and site-packages there would come before the standard library."""
    home = Path(launcher.__file__).resolve().parent.parent
    return {} if home.name in ("site-packages", "dist-packages") else {"PYTHONPATH": str(home)}
