"""A plan's offers at the prices of the day it runs."""

from pathlib import Path

import pytest

from launcher.estimate.range import Range
from launcher.plan.offer import Offer
from launcher.plan.prices import Price, PriceList
from launcher.plan.repriced import repriced

OFFER = Offer(
    cloud="aws",
    region="us-east-1",
    instance="p4",
    gpus="2 × 8×A100",
    usd_per_h=20.0,
    spot=True,
    expected_usd=Range(value=50, low=40, high=70),
    expected_h=None,
    verdict="ok",
)


def today(usd: float, instance: str = "p4") -> PriceList:
    row = Price(cloud="aws", region="us-east-1", instance=instance, gpu="A100", count=8, usd_per_h=30.0, spot_usd_per_h=usd)
    return PriceList(prices=(row,), dropped=0, as_of=0.0)


@pytest.mark.parametrize(
    ("usd", "cap", "now", "said", "refused"),
    [
        (10.0, 60, 20.0, [], []),
        (10.1, 60, 20.2, [], []),
        (8.0, 60, 16.0, ["price-changed"], []),
        (11.0, 60, 22.0, ["price-changed"], []),
        (13.0, 60, 26.0, ["price-changed"], ["over-budget"]),
        (13.0, None, 26.0, ["price-changed"], []),
    ],
)
def test_money_is_counted_at_todays_price(usd: float, cap: float | None, now: float, said: list[str], refused: list[str]) -> None:
    offers, warnings, refusals = repriced([OFFER], today(usd), nodes=2, max_cost_usd=cap, plan=Path("plan.lock"))
    assert offers[0].usd_per_h == pytest.approx(now)
    assert ([problem.code for problem in warnings], [problem.code for problem in refusals]) == (said, refused)


def test_a_machine_that_is_not_listed_any_more_keeps_its_price_and_is_named() -> None:
    offers, (warning,), _ = repriced([OFFER], today(1.0, "p5"), nodes=2, max_cost_usd=None, plan=Path("plan.lock"))
    assert offers == (OFFER,)
    assert "aws us-east-1 p4 spot is not in the price list" in warning.message
    assert repriced([], today(1.0), nodes=1, max_cost_usd=1.0, plan=Path()) == ((), [], [])
