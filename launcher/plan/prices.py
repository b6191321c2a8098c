"""Prices of machines with GPUs: read once from SkyPilot's catalog, kept in a small file, sane or dropped."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from runtime.config.problem import Problem, UserError

SCHEMA = "launcher.prices/1"

# No machine with eight GPUs costs as much an hour: catalogs mark "not for sale" with figures beyond.
DEAREST_USD_PER_H = 2000.0
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
    """Sane prices. `dropped` of the catalog's were not; `as_of` is the Unix time of its oldest file; `clouds` are those it covers."""

    prices: tuple[Price, ...]
    dropped: int
    as_of: float

    @property
    def clouds(self) -> tuple[str, ...]:
        """The clouds that sell something."""
        return tuple(sorted({price.cloud for price in self.prices}))

    def age_h(self, now: float) -> float:
        """Hours since the catalog was fetched, at Unix time `now`."""
        return max(0.0, (now - self.as_of) / 3600)


def sane(rows: Iterable[Price], *, as_of: float) -> PriceList:
    """The rows that can be true: 0 < spot ≤ on-demand, and no stand-in for "not sold"."""
    kept: list[Price] = []
    dropped = 0
    for row in rows:
        on_demand, spot = _sold(row.usd_per_h), _sold(row.spot_usd_per_h)
        broken = (row.usd_per_h is not None and on_demand is None) or (row.spot_usd_per_h is not None and spot is None)
        if spot is not None and on_demand is not None and spot > on_demand:
            spot, broken = None, True
        dropped += broken
        if on_demand is None and spot is None:
            continue
        kept.append(replace(row, usd_per_h=on_demand, spot_usd_per_h=spot))
    return PriceList(prices=tuple(kept), dropped=dropped, as_of=as_of)


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
    body = {"schema": SCHEMA, "as_of": prices.as_of, "dropped": prices.dropped, "prices": [asdict(price) for price in prices.prices]}
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps(body), encoding="utf-8")
    fresh.replace(path)


def read_prices(path: Path) -> PriceList | None:
    """The kept price list, None when there is none. Raises UserError for a file that is no price list."""
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if body["schema"] != SCHEMA:
            return None
        return PriceList(prices=tuple(Price(**row) for row in body["prices"]), dropped=int(body["dropped"]), as_of=float(body["as_of"]))
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


def _sold(usd: float | None) -> float | None:
    return usd if usd is not None and math.isfinite(usd) and 0 < usd < DEAREST_USD_PER_H else None
