"""When a run saves, in a line."""

from __future__ import annotations

from launcher.estimate.saves import Saves
from launcher.show.figures import duration, gib


def saves_text(saves: Saves, place: str | None = None) -> str:
    """`every 12 min by the clock → s3://b · 0.4 GB each · a kill costs at most 12 min`."""
    where = f" → {place}" if place is not None else ""
    loss = f" · a kill costs at most {duration(saves.lost_h)}" if saves.lost_h is not None else ""
    if not saves.count:
        return f"no checkpoints before the end{where}{loss}"
    return f"{_beat(saves)}{where} · {size_text(saves.checkpoint_gb)} each{loss}"


def size_text(gb: float) -> str:
    """`0.4 GB`, `38 MB`."""
    return f"{gib(gb)} GB" if gb >= 1 else f"{max(1, round(gb * 1000))} MB"


def _beat(saves: Saves) -> str:
    match saves.when:
        case "best":
            return "whenever an evaluation is the best so far"
        case "never":
            return "after the first step alone"
        case "clock" if saves.count == 1 and saves.training_h is not None:
            return "at the end alone, as it trains for less than the time between two saves"
        case "clock":
            every = f"every {duration(saves.every_h)}" if saves.every_h is not None else "by the clock"
            return f"{every}, reckoning with a preemption in {saves.risk_h:.1f} h" if saves.risk_h is not None else every
        case "steps":
            beat = "every step" if saves.every_steps == 1 else f"every {saves.every_steps:,} steps"
            return beat if saves.every_h is None else f"{beat} ({duration(saves.every_h)})"
