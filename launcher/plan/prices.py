"""Prices of machines with GPUs: read once from SkyPilot's catalog, kept in a small file, sane or dropped."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from runtime.config.problem import Problem, UserError

SCHEMA = "launcher.prices/1"

# USD an hour of one GPU. List prices go from about 0.05 for old consumer cards to about 14 for the newest ones of the dearest clouds (2025): what lies far
# outside marks "not for sale", or is a slip.
CHEAPEST_USD_PER_H, DEAREST_USD_PER_H = 0.02, 60.0
# The same kind differs by a factor of four or five between clouds; ten times the median price, or a tenth, is a slip.
FAR_OFF = 10.0
# With fewer offers of a kind than this there is no median to speak of.
ENOUGH = 4
# Spot prices go down to 8 to 10 percent of the on-demand price.
SMALLEST_SPOT_SHARE = 0.03
STALE_H = 24 * 7
"""Prices older than this are shown with a warning. On-demand prices change a few times a year, spot prices daily."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an hour of one machine costs, in one region. `usd_per_h` or `spot_usd_per_h` is None where it is not sold so."""

    cloud: str
    region: str
    instance: str
    gpu: str
    count: int
    usd_per_h: float | None
    spot_usd_per_h: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Sane prices. `dropped` of the catalog's were not; `as_of` is the Unix time of its oldest file; `left_out` names the clouds whose catalog could not be
    read, with the reason; `enabled` those that the list was narrowed to, None for all."""

    prices: tuple[Price, ...]
    dropped: int
    as_of: float
    left_out: tuple[str, ...] = ()
    enabled: tuple[str, ...] | None = None

    @property
    def clouds(self) -> tuple[str, ...]:
        """The clouds that sell something."""
        return tuple(sorted({price.cloud for price in self.prices}))

    def age_h(self, now: float) -> float:
        """Hours since the catalog was fetched, at Unix time `now`."""
        return max(0.0, (now - self.as_of) / 3600)

    def to_json(self, now: float) -> dict[str, Any]:
        """How far the list can be trusted at Unix time `now`; the prices themselves are left out."""
        return {
            "as_of": self.as_of,
            "age_h": round(self.age_h(now), 2),
            "dropped": self.dropped,
            "left_out": list(self.left_out),
            "enabled": list(self.enabled) if self.enabled is not None else None,
        }


def sane(rows: Iterable[Price], *, as_of: float, left_out: Sequence[str] = ()) -> PriceList:
    """The rows that can be true: 0 < spot ≤ on-demand, no stand-in for "not sold", and nothing absurdly cheap or dear for its kind of GPU."""
    rows = list(rows)
    typical = _typical(rows)
    kept: list[Price] = []
    dropped = 0
    for row in rows:
        on_demand, spot = _sold(row.usd_per_h, row), _sold(row.spot_usd_per_h, row)
        middle = typical.get(row.gpu)
        if on_demand is not None and middle is not None and not 1 / FAR_OFF <= on_demand / row.count / middle <= FAR_OFF:
            on_demand = None
        most = on_demand or (middle * row.count if middle is not None else None)
        # Where the on-demand price is missing, the kind's typical one stands in, with room for a dear cloud.
        if spot is not None and most is not None and not SMALLEST_SPOT_SHARE * most <= spot <= most * (1 if on_demand else FAR_OFF):
            spot = None
        dropped += (row.usd_per_h is not None and on_demand is None) or (row.spot_usd_per_h is not None and spot is None)
        if on_demand is not None or spot is not None:
            kept.append(replace(row, usd_per_h=on_demand, spot_usd_per_h=spot))
    return PriceList(prices=tuple(kept), dropped=dropped, as_of=as_of, left_out=tuple(left_out))


def _typical(rows: Iterable[Price]) -> dict[str, float]:
    """The median on-demand price of one GPU of each kind that has enough offers; each instance counts once, whatever its regions."""
    each: dict[str, dict[tuple[str, str], float]] = {}
    for row in rows:
        if (usd := _sold(row.usd_per_h, row)) is not None:
            each.setdefault(row.gpu, {}).setdefault((row.cloud, row.instance), usd / row.count)
    return {gpu: statistics.median(prices.values()) for gpu, prices in each.items() if len(prices) >= ENOUGH}


def price_file(environment: Mapping[str, str]) -> Path:
    """Where prices are kept: `LAUNCHER_PRICES`, else the user's cache folder."""
    if named := environment.get("LAUNCHER_PRICES"):
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("launcher") / "prices.json"


def about_age(prices: PriceList | None, now: float) -> list[Problem]:
    """The warning of a plan or an estimate whose price list is missing, or has become old by Unix time `now`; none where it is fresh."""
    if prices is None:
        return [
            Problem(
                code="no-prices",
                message="no prices have been read yet, so there are no offers and no cost",
                place="--gpus",
                fix="run `launcher offers --refresh` once, beside an installed SkyPilot",
            )
        ]
    old = stale(prices, now)
    return [] if old is None else [old]


def stale(prices: PriceList, now: float) -> Problem | None:
    """The warning of a price list that has become old by Unix time `now`."""
    age = prices.age_h(now)
    if age <= STALE_H:
        return None
    return Problem(
        code="old-prices", message=f"the prices are {age / 24:.0f} days old", place="--gpus", fix="run `launcher offers --refresh`"
    )


def write_prices(prices: PriceList, path: Path) -> None:
    """Keep a price list. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {
        "schema": SCHEMA,
        "as_of": prices.as_of,
        "dropped": prices.dropped,
        "left_out": list(prices.left_out),
        "prices": [asdict(price) for price in prices.prices],
    }
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(body), encoding="utf-8")
    fresh.replace(path)


def read_prices(path: Path) -> PriceList | None:
    """The kept price list, None when there is none. Raises UserError for a file that is no price list."""
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if body["schema"] != SCHEMA:
            return None
        return PriceList(
            prices=tuple(Price(**row) for row in body["prices"]),
            dropped=int(body["dropped"]),
            as_of=float(body["as_of"]),
            left_out=tuple(body.get("left_out") or ()),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            Problem(
                code="bad-prices",
                place=str(path),
                message=f"this is no price list: {type(error).__name__}",
                fix="remove the file; `launcher offers --refresh` makes it anew",
            )
        ) from error


def _sold(usd: float | None, row: Price) -> float | None:
    sold = usd is not None and math.isfinite(usd) and CHEAPEST_USD_PER_H <= usd / row.count <= DEAREST_USD_PER_H
    return usd if sold else None
