"""What SkyPilot can do on a cloud: an offer that it would refuse is none."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TABLE = Path(__file__).parents[1] / "data" / "clouds.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """`several_machines` that work together, `container_images` as the machine's surroundings, `gives_back`: the machine ends itself when nothing runs,
    `opens_ports` to the world."""

    several_machines: bool = True
    container_images: bool = True
    gives_back: bool = True
    opens_ports: bool = True


def abilities_of(cloud: str) -> Abilities:
    """Those of a cloud by SkyPilot's name; of one that is not in the table, all."""
    return _table().get(cloud, Abilities())


@cache
def _table() -> dict[str, Abilities]:
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        return {
            row["cloud"]: Abilities(
                **{name: row[name] == "yes" for name in ("several_machines", "container_images", "gives_back", "opens_ports")}
            )
            for row in csv.DictReader(stream)
        }
