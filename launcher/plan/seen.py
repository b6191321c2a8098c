"""What this computer's own runs on spot machines met: hours up and preemptions, by cloud and GPUs of a machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from launcher.estimate.gpus import parse_gpus
from launcher.estimate.preemption import Seen
from launcher.state.usage import Usage, read_usage
from runtime.config.problem import UserError

SeenBy = Callable[[str, int], Seen | None]
"""What was seen on a cloud's machines of so many GPUs; None where nothing was."""


def nothing_seen(_cloud: str, _gpus: int) -> Seen | None:
    """No machine has been seen."""
    return None


def seen_below(root: Path) -> SeenBy:
    """What the runs below `root` have seen, as far as this computer has looked at them. Of a run whose machines may have been of either kind, or of different
    sizes, nothing is known. They are read when first asked for: a plan for this machine never asks."""
    known = cache(lambda: _found_below(root))
    return lambda cloud, gpus: known().get((cloud.lower(), gpus))


def _found_below(root: Path) -> Mapping[tuple[str, int], Seen]:
    found: dict[tuple[str, int], Seen] = {}
    for folder in sorted(path.parent for path in (root / "runs").glob("*/usage.json")):
        usage = read_usage(folder)
        gpus = _spot_gpus(folder) if usage is not None else None
        if usage is None or gpus is None:
            continue
        for cloud, seen in seen_in(usage).items():
            before = found.get((cloud, gpus), Seen())
            found[(cloud, gpus)] = Seen(hours=before.hours + seen.hours, preemptions=before.preemptions + seen.preemptions)
    return found


def seen_in(usage: Usage) -> Mapping[str, Seen]:
    """Hours and preemptions of one run by cloud. A machine that another of the same submission followed was taken away, with notice or without."""
    hours: defaultdict[str, float] = defaultdict(float)
    lost: defaultdict[str, int] = defaultdict(int)
    for at, life in enumerate(usage.lives):
        cloud = life.where.partition("/")[0].lower()
        if not cloud:
            continue
        hours[cloud] += life.hours
        lost[cloud] += any(later.submission == life.submission for later in usage.lives[at + 1 :])
    return {cloud: Seen(hours=hours[cloud], preemptions=lost[cloud]) for cloud in hours}


def _spot_gpus(folder: Path) -> int | None:
    """GPUs of each of a run's machines, where they were all spot machines of one size."""
    from launcher.state.runs import RunFolder
    from runtime.config.document import BrokenYamlError, read_value

    with suppress(OSError, BrokenYamlError, UserError, ValueError, AttributeError, TypeError):
        text = RunFolder(path=folder).config_path.read_text(encoding="utf-8")
        launch: dict[str, Any] = read_value(text, place=str(folder)).get("launch") or {}
        named = launch.get("gpus")
        counts = {parse_gpus(text).count for text in ([named] if isinstance(named, str) else named or [])}
        return counts.pop() if launch.get("spot") is True and len(counts) == 1 else None
    return None
