"""What the launcher expects of a run, in the run's state folder, for the training process to compare with what it measures."""

from __future__ import annotations

import json
import math
from pathlib import Path

from runtime.record import write_atomic

EXPECTED = "expected.json"


def write_expectation(folder: Path, *, peak_gib: float) -> None:
    """Keep the peak that one process is expected to measure: of live tensors on its GPU, of its resident set on a CPU. Raises OSError."""
    write_atomic(folder / EXPECTED, json.dumps({"peak_gib": round(peak_gib, 4)}).encode())


def expected_peak_gib(folder: Path | None) -> float | None:
    """The peak that is expected, None where nobody has said."""
    if folder is None:
        return None
    try:
        peak = float(json.loads((folder / EXPECTED).read_text(encoding="utf-8"))["peak_gib"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return peak if math.isfinite(peak) and peak > 0 else None
