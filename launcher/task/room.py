"""What a run needs of a rented machine besides its GPUs: its disk, and memory for what waits there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher.plan.plan import Plan
    from runtime.config.launch import LaunchConfig

# The system, its drivers and a container image or the training stack, GB: measured for the stack (8), the rest after SkyPilot's images (30).
_SYSTEM_GB = 60
_UNKNOWN_GB = 256
_CLOUDS_WITHOUT_DISKS = ("kubernetes", "slurm", "ssh")
# Beside shards in host memory: the system, and what each process, its libraries and its loaders take.
_BESIDE_GIB = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Of one machine: its disk, GB, and the least host memory, GiB, where the run keeps its shards there; None where every machine with such GPUs will do."""

    disk_gb: int
    memory_gib: int | None = None


def room_of(plan: Plan | None) -> Room:
    """For the system, the model as it is downloaded, loaded and merged, and every checkpoint that is kept, in steps of ten GB."""
    if plan is None or plan.estimate is None:
        return Room(disk_gb=_UNKNOWN_GB)
    saves = plan.estimate.saves
    disk_gb = _disk_gb(parameters=plan.estimate.model.facts.parameters, checkpoints_gb=saves.disk_gb, final_gb=saves.final_gb)
    return Room(disk_gb=disk_gb, memory_gib=_memory_gib(plan.estimate.host_gib))


def room_in(plan: Mapping[str, Any]) -> Room:
    """The same for a plan that was written down."""
    model, saves, memory = plan.get("model") or {}, plan.get("saves") or {}, plan.get("memory") or {}
    if not model.get("parameters") or "final_gb" not in saves:
        return Room(disk_gb=_UNKNOWN_GB)
    disk_gb = _disk_gb(parameters=model["parameters"], checkpoints_gb=saves["disk_gb"], final_gb=saves["final_gb"])
    return Room(disk_gb=disk_gb, memory_gib=_memory_gib(memory.get("host_gib") or 0.0))


def _disk_gb(*, parameters: int, checkpoints_gb: float, final_gb: float) -> int:
    weights_gb = parameters * 2 / 1e9
    return math.ceil((_SYSTEM_GB + 2.2 * weights_gb + checkpoints_gb + 2 * final_gb) / 10) * 10


def _memory_gib(host_gib: float) -> int | None:
    return math.ceil(host_gib) + _BESIDE_GIB if host_gib > 0 else None


def has_disks(launch: LaunchConfig) -> bool:
    """Whether machines of that cloud come with a disk of a chosen size."""
    return launch.cloud not in _CLOUDS_WITHOUT_DISKS
