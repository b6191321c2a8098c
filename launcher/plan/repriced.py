"""The offers of a plan at today's prices: money is counted at those, whatever was planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from launcher.estimate.gpus import find_gpu
from launcher.plan.offer import Offer
from launcher.plan.prices import Price, PriceList
from runtime.config.problem import Problem

# Below this a change is not worth a line: spot prices move by a few percent within hours.
_NOTICED = 0.02


def repriced(
    offers: Sequence[Offer], prices: PriceList, *, nodes: int, max_cost_usd: float | None, plan: Path
) -> tuple[tuple[Offer, ...], list[Problem], list[Problem]]:
    """The offers with today's price of the same machine, a warning where that of the first is another one, and a refusal where the cap no longer holds the
    run. An offer whose machine is not listed any more keeps its price."""
    now = {
        (row.cloud, row.region, row.instance, spot): usd
        for row in prices.prices
        for spot, usd in _both(row)
        if find_gpu(row.gpu) is not None
    }
    found = []
    for offer in offers:
        usd = now.get((offer.cloud, offer.region, offer.instance, offer.spot))
        found.append(offer if usd is None else replace(offer, usd_per_h=usd * nodes))
    if not offers:
        return (), [], []
    before, after = offers[0], found[0]
    where = f"{before.cloud} {before.region} {before.instance}{' spot' if before.spot else ''}"
    if (before.cloud, before.region, before.instance, before.spot) not in now:
        gone = Problem(
            code="price-changed", place=str(plan), message=f"{where} is not in the price list any more", fix="plan again to see what is"
        )
        return tuple(found), [gone], []
    change = after.usd_per_h / before.usd_per_h - 1 if before.usd_per_h else 0.0
    if abs(change) < _NOTICED:
        return tuple(found), [], []
    message = f"{where} cost ${before.usd_per_h:,.2f} an hour when it was planned and costs ${after.usd_per_h:,.2f} now"
    said = Problem(code="price-changed", place=str(plan), message=message, fix="plan again to see what that comes to")
    expected = before.expected_usd.value * (1 + change) if before.expected_usd is not None else None
    if (
        max_cost_usd is not None
        and expected is not None
        and expected > max_cost_usd >= (before.expected_usd.value if before.expected_usd else 0)
    ):
        over = Problem(
            code="over-budget",
            path="launch.max_cost_usd",
            place=str(plan),
            message=f"{message}, so the run is expected to cost ${expected:,.2f}, and its cap is ${max_cost_usd:,.2f}",
            fix="plan again with a higher --max-cost, or for another place",
        )
        return tuple(found), [said], [over]
    return tuple(found), [said], []


def _both(row: Price) -> list[tuple[bool, float]]:
    return [(spot, usd) for spot, usd in ((False, row.usd_per_h), (True, row.spot_usd_per_h)) if usd is not None]
