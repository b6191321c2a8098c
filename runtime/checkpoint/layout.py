"""Names inside a run's folder and under its prefix in a store; both have the same layout."""

from __future__ import annotations

import re

CHECKPOINTS = "checkpoints"
FINAL = "final"
MERGED = "final/merged"
WEIGHTS = "weights"
PORTIONS = "portions"
"""What one machine holds of checkpoints that several write, a folder a step; nowhere but on its disk, and no checkpoint by itself."""
MANIFEST = "manifest.json"
LEASE = "lease.json"

STORED = "portions/stored"
"""Where the head of several machines notes the newest step that was sealed of all their portions, in the store."""

_STEP_FOLDER = re.compile(r"step-(\d{8,})")


def step_folder(step: int) -> str:
    """`step-00000040`: padded so that names sort as their steps do."""
    if step < 0:
        raise ValueError(f"a step is not negative: {step}")
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step of a checkpoint folder's name; None for any other name, `step-40` and `step-000000040` included."""
    match = _STEP_FOLDER.fullmatch(name)
    if match is None:
        return None
    step = int(match[1])
    return step if step_folder(step) == name else None
