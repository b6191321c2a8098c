"""Money for bytes: leaving a cloud, and lying in storage."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).parents[1] / "data" / "egress.csv"

# Schemes of storage URLs that belong to one cloud. Traffic within it is free where the region is the same.
_HOME = {"s3": "aws", "gs": "gcp", "az": "azure", "azure": "azure", "oci": "oci", "nebius": "nebius"}
_HOURS_A_MONTH = 730.0

UPLOAD_GB_PER_S = 0.2
"""GB a second a checkpoint goes to an object store with: a few parallel parts from a machine in the same cloud; an assumption, the run measures its own."""


def egress_usd(cloud: str, storage: str | None, gb: float) -> float:
    """What sending `gb` gigabytes (1e9 bytes) from a machine in `cloud` to `storage` (a URL) costs: nothing within one cloud."""
    if storage is None or "://" not in storage:
        return 0.0
    home = _HOME.get(storage.split("://", 1)[0].lower())
    return 0.0 if home == cloud.lower() else gb * _row(cloud)[0]


def storage_usd(storage: str | None, gb: float, hours: float) -> float:
    """What keeping `gb` gigabytes for so many hours costs at the storage's list price."""
    if storage is None or "://" not in storage:
        return 0.0
    home = _HOME.get(storage.split("://", 1)[0].lower(), "*")
    return gb * _row(home)[1] * hours / _HOURS_A_MONTH


@cache
def _rows() -> dict[str, tuple[float, float]]:
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        return {row["cloud"]: (float(row["usd_per_gb"]), float(row["storage_usd_per_gb_month"])) for row in csv.DictReader(stream)}


def _row(cloud: str) -> tuple[float, float]:
    return _rows().get(cloud.lower(), _rows()["*"])
