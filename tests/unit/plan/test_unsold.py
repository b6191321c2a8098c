"""Why there is no offer is told, with what there would be one for."""

from __future__ import annotations

import pytest

from launcher.estimate.gpus import parse_gpus
from launcher.plan.offers import Wish
from launcher.plan.prices import Price, PriceList
from launcher.plan.unsold import why_unsold


def price(cloud: str, region: str, usd: float | None, spot: float | None = None) -> Price:
    return Price(cloud=cloud, region=region, instance="i", gpu="H100", count=8, usd_per_h=usd, spot_usd_per_h=spot)


PRICES = PriceList(
    prices=(price("aws", "us-east-1", 55.0, 24.0), price("lambda", "us-south-1", 24.0), price("runpod", "CA", 21.0, 14.0)),
    dropped=0,
    as_of=0.0,
)
H100 = (parse_gpus("H100:8"),)


@pytest.mark.parametrize(
    ("wish", "said", "fix"),
    [
        (Wish(gpus=(parse_gpus("B200:8"),)), "no cloud in the price list sells B200:8", "`launcher offers` lists what is sold"),
        (Wish(gpus=H100, regions=("us-west-9",)), "H100:8 in the region us-west-9", "aws us-east-1, lambda us-south-1, runpod CA;"),
        (Wish(gpus=H100, clouds=frozenset({"gcp"})), "H100:8 on gcp", "aws us-east-1, lambda us-south-1, runpod CA;"),
        (Wish(gpus=H100, clouds=frozenset({"lambda"}), spot=True), "H100:8 on lambda and sold as interruptible", "aws us-east-1, lambda"),
        (Wish(gpus=H100, clouds=frozenset({"mithril"}), ports=True), "H100:8 on mithril", "aws us-east-1"),
        (Wish(gpus=H100, clouds=frozenset({"runpod"}), nodes=2), "where SkyPilot can use it for 2 machines together", "aws us-east-1"),
    ],
)
def test_what_stands_in_the_way_is_named(wish: Wish, said: str, fix: str) -> None:
    found = why_unsold(wish, PRICES)
    assert found is not None
    assert said in found.message
    assert fix in found.fix


def test_machines_of_ones_own_have_no_price() -> None:
    assert why_unsold(Wish(gpus=H100, clouds=frozenset({"slurm"})), PRICES) is None
