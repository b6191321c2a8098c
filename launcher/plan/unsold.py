"""Why a wish has no offer, and what would have one."""

from __future__ import annotations

from launcher.estimate.gpus import find_gpu
from launcher.plan.enabled import OF_ONES_OWN
from launcher.plan.offers import Wish, met
from launcher.plan.prices import PriceList
from runtime.config.problem import Problem

_SHOWN = 4


def why_unsold(wish: Wish, prices: PriceList) -> Problem | None:
    """The warning of a wish that no machine of the price list meets. None where machines without a price may: those of one's own."""
    if OF_ONES_OWN & (wish.clouds or frozenset(prices.enabled or ())):
        return None
    kinds = {(want.gpu.name, want.count) for want in wish.gpus}
    names = " or ".join(f"{want.gpu.name}:{want.count}" for want in wish.gpus)
    rows = [
        (price, met(price, wish))
        for price in prices.prices
        if (gpu := find_gpu(price.gpu)) is not None and (gpu.name, price.count) in kinds
    ]
    if not rows:
        return _problem(
            f"no cloud in the price list sells {names}", "`launcher offers` lists what is sold; `launcher estimate` which kinds fit"
        )
    words = _words(wish)
    # A part that nobody meets is to blame alone; else it is those that exclude the others' places.
    lacking = [part for part in words if not any(parts[part] for _, parts in rows)] or [
        part for part in words if not all(p[part] for _, p in rows)
    ]
    nearest = [price for price, parts in rows if all(parts[part] for part in parts if part not in lacking)]
    places = list(dict.fromkeys(f"{price.cloud} {price.region}" for price in nearest or [price for price, _ in rows]))
    more = f" and {len(places) - _SHOWN} more places" if len(places) > _SHOWN else ""
    return _problem(
        f"no machine in the price list is {names} {' and '.join(words[part] for part in lacking)}",
        f"there are some in {', '.join(places[:_SHOWN])}{more}; `launcher offers` lists them",
    )


def _words(wish: Wish) -> dict[str, str]:
    several = f" for {wish.nodes} machines together" if wish.nodes > 1 else ""
    image = " with an image of one's own" if wish.image else ""
    ports = " with ports opened" if wish.ports else ""
    return {
        "cloud": f"on {' or '.join(sorted(wish.clouds)) or 'any cloud'}",
        "region": f"in the region {' or '.join(wish.regions)}",
        "ability": f"where SkyPilot can use it{several}{image}{ports}",
        "spot": "sold as interruptible" if wish.spot else "sold on demand",
    }


def _problem(message: str, fix: str) -> Problem:
    return Problem(code="no-offers", place="--gpus", message=message, fix=fix)
