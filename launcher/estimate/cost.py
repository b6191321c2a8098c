"""Money: time at a price."""

from __future__ import annotations

from launcher.estimate.range import Range


def cost_usd(hours: Range, usd_per_h: float) -> Range:
    """What a run of so many hours costs at a price per hour of the whole machine. Raises ValueError for a negative price."""
    if usd_per_h < 0:
        raise ValueError(f"a price cannot be negative: {usd_per_h}")
    return hours.times(usd_per_h)
