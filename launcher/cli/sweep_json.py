"""The JSON form of a sweep: its runs, the best first, and which that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launcher.backend.protocol import RunStatus
from launcher.cli.run_json import run_data
from launcher.show.comparison import best_first, best_of


def sweep_data(sweep: str, statuses: Sequence[RunStatus]) -> dict[str, Any]:
    """`{sweep, best, runs}`; `best` is the run with the lowest loss among those that are done, None before one is."""
    best = best_of(statuses)
    return {
        "sweep": sweep,
        "best": best.record.run if best is not None else None,
        "runs": [run_data(status) for status in best_first(statuses)],
    }
