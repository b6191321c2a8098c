"""Where on a rented machine things are, and which machine of the run this is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.config.problem import Problem, UserError

HOME = "~/.launcher"
"""The folder everything of ours lies in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What SkyPilot and the task told this machine. `addresses` are those of all machines of the run, this one's at `rank`."""

    run: str
    config_text: str
    submission: str
    recipe: str = ""
    chaos: tuple[str, ...] = ()
    expected_gib: float | None = None
    prices: Mapping[str, float]
    rank: int = 0
    addresses: tuple[str, ...] = ("127.0.0.1",)
    where: str = ""

    @property
    def nodes(self) -> int:
        """Machines of the run."""
        return len(self.addresses)

    @property
    def usd_per_h(self) -> float | None:
        """Price of all machines of the run: that of this region, else of this cloud, else the dearest anywhere; None when none is known."""
        cloud, _, rest = self.where.partition("/")
        region = rest.partition("/")[0]
        for key in (f"{cloud}/{region}", cloud, ""):
            if key in self.prices:
                return self.prices[key]
        return None


def read_place(environment: Mapping[str, str]) -> Place:
    """The place the environment describes. Raises UserError when the task's own variables are missing."""
    missing = [name for name in ("LAUNCHER_RUN", "LAUNCHER_CONFIG") if not environment.get(name)]
    if missing:
        raise UserError(
            Problem(
                code="missing",
                message=f"{' and '.join(missing)} must be set",
                place="environment",
                fix="this is started by a task that `launcher render --task` or `launcher up` made",
            )
        )
    addresses = tuple(line.strip() for line in environment.get("SKYPILOT_NODE_IPS", "").splitlines() if line.strip())
    return Place(
        run=environment["LAUNCHER_RUN"],
        config_text=environment["LAUNCHER_CONFIG"],
        # A task started by hand has no submission of ours; SkyPilot's own id is the same after a recovery.
        submission=environment.get("LAUNCHER_SUBMISSION") or environment.get("SKYPILOT_TASK_ID") or "by-hand",
        recipe=environment.get("LAUNCHER_RECIPE", ""),
        chaos=tuple(item for item in environment.get("LAUNCHER_CHAOS", "").split(",") if item),
        expected_gib=_number(environment.get("LAUNCHER_EXPECTED_GIB", "")),
        prices=_prices(environment.get("LAUNCHER_PRICES", "")),
        rank=int(environment.get("SKYPILOT_NODE_RANK") or 0),
        addresses=addresses or ("127.0.0.1",),
        where=_where(environment.get("SKYPILOT_CLUSTER_INFO", "")),
    )


def node_environment(environment: Mapping[str, str], place: Place) -> dict[str, str]:
    """The environment of the training process: with where the other machines are, when there are any."""
    several = {
        "LAUNCHER_NODES": str(place.nodes),
        "LAUNCHER_NODE_RANK": str(place.rank),
        "LAUNCHER_HEAD": place.addresses[0],
    }
    return {**environment, **(several if place.nodes > 1 else {})}


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _prices(text: str) -> dict[str, float]:
    try:
        raw = json.loads(text) if text else {}
        return {str(name): float(usd) for name, usd in raw.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def _where(text: str) -> str:
    """`cloud/region/zone` of SkyPilot's description of the cluster; empty when it says nothing."""
    try:
        raw = json.loads(text) if text else {}
        parts = [str(raw[name]).lower() if name == "cloud" else str(raw[name]) for name in ("cloud", "region", "zone") if raw.get(name)]
    except (ValueError, TypeError, AttributeError):
        return ""
    return "/".join(parts)
