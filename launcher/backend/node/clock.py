"""When this machine began to cost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

# Set-up by SkyPilot takes minutes. A machine that has been up for longer before it was not started for this run: a node of one's own cluster.
_BOOT_S = 1800.0


def began_at(home: Path, *, now: float, boot: float | None = None) -> float:
    """Unix seconds: the machine's own start where that was shortly before its set-up began, else that beginning, else now."""
    try:
        set_up = float((home / "began").read_text().strip())
    except (OSError, ValueError):
        return now
    if boot is None:
        with suppress(psutil.Error, OSError):
            boot = psutil.boot_time()
    return boot if boot is not None and 0 <= set_up - boot < _BOOT_S else min(set_up, now)
