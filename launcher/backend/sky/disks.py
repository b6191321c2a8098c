"""What a disk costs that no machine uses: SkyPilot knows prices of machines alone."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).parents[2] / "data" / "disks.csv"
_HOURS_A_MONTH = 730.0


def disk_usd_per_h(cloud: str, size: Any) -> float | None:
    """USD an hour of a disk of `size` GB, a number or a text such as `100` or `100Gi`; None where the price or the size is not known."""
    found = re.match(r"\s*(\d+(?:\.\d+)?)", str(size))
    price = _table().get(cloud.lower())
    return float(found[1]) * price / _HOURS_A_MONTH if found is not None and price is not None else None


@cache
def _table() -> dict[str, float]:
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        return {row["cloud"]: float(row["usd_per_gb_month"]) for row in csv.DictReader(stream)}
