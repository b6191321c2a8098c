"""`launcher stop SWEEP`: all its runs to rest at sealed checkpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence

from launcher.backend.protocol import ACTIVE, Backend
from launcher.cli.output import emit_json, note, say
from launcher.cli.sweep_json import sweep_data
from launcher.show.comparison import render_comparison


def stop_sweep(sweep: str, backend: Backend, runs: Sequence[str], *, wait: bool, as_json: bool) -> None:
    """Ask every run that is at work to stop, and with `wait` return when they have."""
    # From the last to the first: a run that waits for its turn must not begin because the one before it has stopped.
    for run in reversed(runs):
        if backend.look(run).state in (*ACTIVE, "lost", "orphaned"):
            note(f"stopping {run} …")
            backend.stop(run)
    for run in runs:
        while wait and backend.look(run).state in ACTIVE:
            time.sleep(0.1)
        backend.release(run)
    statuses = [backend.status(run) for run in runs]
    if as_json:
        emit_json("stop", sweep_data(sweep, statuses))
    else:
        say(render_comparison(sweep, statuses))
