"""What a template knows about the machine it is rendered for: kind, count and nodes, and for a kind in the table its memory and formats."""

from __future__ import annotations

from typing import Any

from launcher.estimate.gpus import find_gpu
from launcher.recipe.target import read_target


def template_target(gpus: str | None, *, nodes: int = 1) -> dict[str, Any]:
    """The namespace `gpu` of templates: `name`, `count`, `nodes`; for known kinds `memory_gib` of one card and `bf16`. Empty for None. Raises UserError."""
    target = read_target(gpus)
    if not target:
        return {}
    kind = find_gpu(target["name"])
    known = {"name": kind.name, "memory_gib": kind.capacity_gib, "bf16": kind.bf16_tflops is not None} if kind is not None else {}
    return target | {"nodes": nodes} | known
