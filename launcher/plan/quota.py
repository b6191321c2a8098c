"""The quota a machine counts against, where its cloud gives new accounts little or none of it."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).parents[1] / "data" / "quotas.csv"


def quota_of(cloud: str, instance: str, gpu: str, *, spot: bool) -> str | None:
    """The quota's name as the cloud's console shows it, None where none is known. `gpu` is the kind's name in the table of GPUs."""
    for row in _rows():
        begins = tuple(row["instances"].split())
        if (
            row["cloud"] == cloud
            and (row["spot"] == "yes") == spot
            and (not begins or instance.startswith(begins))
            and row["gpu"] in ("", gpu)
        ):
            return row["quota"]
    return None


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        return tuple(csv.DictReader(stream))
