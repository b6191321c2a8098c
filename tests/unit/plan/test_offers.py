"""Offers: sane prices only, the cheapest expected total first, and spot judged by what it will cost."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.estimate.estimate import Estimate, estimate
from launcher.estimate.gpus import GpuCount, parse_gpus
from launcher.estimate.hardware import cards
from launcher.estimate.model_source import find_model
from launcher.estimate.preemption import Seen
from launcher.estimate.range import exactly
from launcher.estimate.rows import DataSize
from launcher.plan.offer import Offer
from launcher.plan.offers import Wish, cheapest_per_place, offers_for
from launcher.plan.prices import Price, PriceList, price_file, read_prices, sane, stale, write_prices
from launcher.plan.quota import quota_of
from launcher.show.offers import about_prices, offer_notes, render_price_table, spot_sentence
from runtime.config.problem import UserError
from runtime.config.schema import TrainingConfig

A8 = parse_gpus("A100-80GB:8")
CONFIG = TrainingConfig.model_validate(
    {
        "base_model": "meta-llama/Llama-3.1-8B",
        "learning_rate": 1e-4,
        "datasets": [{"path": "x", "type": "alpaca"}],
        "adapter": "lora",
        "lora_r": 16,
        "lora_alpha": 16,
        "lora_target_linear": True,
        "flash_attention": True,
        "gradient_checkpointing": True,
        "bf16": True,
        "sequence_len": 4096,
        "sample_packing": True,
        "max_steps": 3000,
        "save_steps": 100,
    }
)
MODEL = find_model(CONFIG.base_model, environment={})
DATA = DataSize(rows=exactly(100_000), tokens=exactly(40_000_000), longest=4096, basis="counted")


def price(
    cloud: str = "aws", usd: float | None = 40.0, spot: float | None = None, *, gpu: str = "A100-80GB", count: int = 8, region: str = "r1"
) -> Price:
    return Price(cloud=cloud, region=region, instance=f"{gpu}.{count}", gpu=gpu, count=count, usd_per_h=usd, spot_usd_per_h=spot)


def listed(*rows: Price) -> PriceList:
    return sane(rows, as_of=0.0)


def priced(kind: GpuCount) -> Estimate:
    return estimate(CONFIG, MODEL, cards(kind), DATA)


def test_only_prices_that_can_be_true_are_kept() -> None:
    rows = [
        price(usd=4.0, spot=1.0),
        price(usd=4.0, spot=9.0),  # spot above on-demand
        price(usd=0.0, spot=None),
        price(usd=math.nan, spot=2.0),
        price(usd=99999.0, spot=None),  # a stand-in for "not sold"
        price(usd=-1.0, spot=-1.0),
        price(usd=None, spot=None),
    ]
    kept = listed(*rows)
    assert [(row.usd_per_h, row.spot_usd_per_h) for row in kept.prices] == [(4.0, 1.0), (4.0, None), (None, 2.0)]
    assert kept.dropped == 5


def test_the_cheapest_expected_total_comes_first() -> None:
    offers = offers_for(Wish(gpus=(A8,)), listed(price("lambda", 14.3), price("aws", 40.9, 16.9), price("gcp", 30.0, 12.4)), priced)
    assert [(offer.cloud, offer.spot) for offer in offers] == [
        ("gcp", True),
        ("lambda", False),
        ("aws", True),
        ("gcp", False),
        ("aws", False),
    ]
    totals = [offer.expected_usd.value for offer in offers if offer.expected_usd is not None]
    assert totals == sorted(totals)
    spot = offers[0]
    assert spot.risk is not None
    assert spot.expected_h is not None
    on_demand = offers[1].expected_h
    assert on_demand is not None
    assert spot.expected_h.value > on_demand.value


def test_spot_that_costs_more_in_the_end_says_so() -> None:
    offers = offers_for(Wish(gpus=(A8,)), listed(price("aws", 40.0, 39.0)), priced)
    assert [(offer.spot, offer.risk.loses if offer.risk else None) for offer in offers] == [(False, None), (True, True)]


def test_own_runs_change_the_risk() -> None:
    def calm(_cloud: str, _gpus: int) -> Seen:
        return Seen(hours=500, preemptions=2)

    prior, seen = (
        offers_for(Wish(gpus=(A8,), spot=True), listed(price("aws", 40.0, 16.9)), priced, **more)[0] for more in ({}, {"seen": calm})
    )
    assert prior.risk is not None
    assert seen.risk is not None
    assert seen.risk.hours_between.value > 20 * prior.risk.hours_between.value
    assert prior.expected_usd is not None
    assert seen.expected_usd is not None
    assert seen.expected_usd.value < prior.expected_usd.value


def test_wishes_are_obeyed() -> None:
    rows = listed(
        price("aws", 40.0, 16.0, region="east"),
        price("aws", 41.0, 17.0, region="west"),
        price("gcp", 30.0, 12.0),
        price("aws", 1.0, gpu="L4", count=1),
    )
    names = {
        (offer.cloud, offer.region, offer.spot)
        for offer in offers_for(Wish(gpus=(A8,), spot=False, clouds=frozenset({"aws"})), rows, priced)
    }
    assert names == {("aws", "east", False), ("aws", "west", False)}
    assert {offer.region for offer in offers_for(Wish(gpus=(A8,), regions=("west",)), rows, priced)} == {"west"}
    assert {offer.cloud for offer in offers_for(Wish(gpus=(A8,), regions=("aws/west", "gcp/us-east")), rows, priced)} <= {"aws", "gcp"}
    assert not offers_for(Wish(gpus=(A8,), regions=("gcp/west",)), rows, priced)
    both = offers_for(Wish(gpus=(A8, parse_gpus("L4:1"))), rows, priced)
    assert {offer.gpus for offer in both} == {"8×A100-80GB", "1×L4"}


def test_a_list_is_offered_in_its_order() -> None:
    rows = listed(
        price("aws", 40.0, 16.0, region="east"), price("aws", 41.0, 17.0, region="west"), price("aws", 1.0, 0.4, gpu="L4", count=1)
    )
    wish = Wish(gpus=(A8, parse_gpus("L4:1")), regions=("west", "east", "us-east-1"), prefer="listed")
    found = [(offer.gpus, offer.spot, offer.region) for offer in offers_for(wish, rows, priced)]
    assert found[:4] == [
        ("8×A100-80GB", True, "west"),
        ("8×A100-80GB", True, "east"),
        ("8×A100-80GB", False, "west"),
        ("8×A100-80GB", False, "east"),
    ]
    assert {gpus for gpus, _, _ in found[4:]} <= {"1×L4"}


def test_what_is_over_the_cap_or_does_not_fit_comes_last() -> None:
    big = CONFIG.model_copy(update={"micro_batch_size": 64, "gradient_checkpointing": False})

    def too_big(kind: GpuCount) -> Estimate:
        return estimate(CONFIG if kind == A8 else big, MODEL, cards(kind), DATA)

    offers = offers_for(
        Wish(gpus=(A8, parse_gpus("L4:1")), max_cost_usd=30.0),
        listed(price("aws", 40.0), price("lambda", 2.0), price("aws", 0.1, gpu="L4", count=1)),
        too_big,
    )
    assert [(offer.cloud, offer.gpus, offer.verdict) for offer in offers] == [
        ("lambda", "8×A100-80GB", "ok"),
        ("aws", "1×L4", "does-not-fit"),
        ("aws", "8×A100-80GB", "over-budget"),
    ]


def test_nodes_multiply_the_price_and_sending_away_costs() -> None:
    def one(**wish: object):
        return offers_for(Wish(gpus=(A8,), spot=False, **wish), listed(price("aws", 10.0)), priced)[0]  # type: ignore[arg-type]

    assert one(nodes=2).usd_per_h == 20.0
    here, there = one(storage="s3://bucket/run").expected_usd, one(storage="gs://bucket/run").expected_usd
    assert here is not None
    assert there is not None
    assert there.value > here.value


def test_a_screen_shows_each_kind_of_place_once() -> None:
    offers = offers_for(Wish(gpus=(A8,)), listed(*(price("aws", 40.0 + n, 16.0 + n, region=f"r{n}") for n in range(5))), priced)
    assert [(offer.cloud, offer.spot, offer.region) for offer in cheapest_per_place(offers, most=6)] == [
        ("aws", True, "r0"),
        ("aws", False, "r0"),
    ]


def test_kept_prices_come_back_and_age(tmp_path: Path) -> None:
    prices = sane([price(usd=4.0, spot=1.0)], as_of=1000.0)
    path = price_file({"LAUNCHER_PRICES": str(tmp_path / "deep" / "prices.json")})
    assert read_prices(path) is None
    write_prices(prices, path)
    assert read_prices(path) == prices
    assert prices.age_h(1000.0 + 7200) == 2.0
    assert stale(prices, 1000.0 + 7200) is None
    assert stale(prices, 1000.0 + 30 * 86400) is not None
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="no price list"):
        read_prices(path)


RECIPE = """\
base_model: meta-llama/Llama-3.1-8B
learning_rate: 1e-4
datasets: [{path: acme/chats, type: chat_template, revision: abc}]
adapter: lora
lora_r: 16
lora_alpha: 16
lora_target_linear: true
flash_attention: true
sequence_len: 4096
sample_packing: true
bf16: true
micro_batch_size: 8
gradient_accumulation_steps: 2
max_steps: 500
"""


def launcher(folder: Path, *words: str) -> tuple[int, dict[str, object]]:
    environment = {"PATH": "/usr/bin:/bin", "LAUNCHER_PRICES": str(folder / "prices.json"), "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "launcher", *words, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    return done.returncode, json.loads(done.stdout)


def test_estimate_and_plan_use_the_kept_prices(tmp_path: Path) -> None:
    (tmp_path / "recipe.yml").write_text(RECIPE, encoding="utf-8")
    import time

    write_prices(
        sane([price("lambda", 14.3), price("aws", 40.9, 16.9), price("aws", 0.8, 0.3, gpu="L4", count=1)], as_of=time.time()),
        tmp_path / "prices.json",
    )
    code, answer = launcher(
        tmp_path,
        "estimate",
        "recipe.yml",
        "--gpus",
        "A100-80GB:8",
        "--set",
        "gradient_checkpointing=true",
        "--set",
        "micro_batch_size=auto",
    )
    assert code == 0
    data = answer["data"]
    assert [offer["cloud"] for offer in data["offers"]] == ["lambda", "aws", "aws"]
    assert data["cost"]["usd"]["value"] == pytest.approx(data["offers"][0]["expected_usd"], rel=1e-3)
    assert [warning["code"] for warning in answer["warnings"]] == ["auto"]
    code, answer = launcher(tmp_path, "estimate", "recipe.yml", "--gpus", "A100-80GB:8")
    assert code == 3
    assert [set(change["set"]) for change in answer["data"]["advice"]["changes"]]
    code, answer = launcher(tmp_path, "plan", "recipe.yml", "--gpus", "A100-80GB:8", "--set", "micro_batch_size=1")
    assert code == 0
    assert answer["data"]["offers"][0]["verdict"] == "ok"
    code, answer = launcher(tmp_path, "estimate", "recipe.yml", "--set", "micro_batch_size=1")
    assert code == 0
    best = [row["offer"]["expected_usd"] for row in answer["data"]["fits"] if row["offer"] is not None]
    assert best == sorted(best)
    assert best
    code, answer = launcher(tmp_path, "offers", "--gpus", "L4:1")
    assert [row["usd_per_h"] for row in answer["data"]["offers"]] == [0.8]


def test_an_absurd_price_is_dropped_and_a_dear_cloud_is_not() -> None:
    usual = [replace(price(cloud, usd), instance=cloud) for cloud, usd in (("a", 8.0), ("b", 12.0), ("c", 16.0), ("d", 40.0))]
    odd = [
        replace(price("e", 0.1), instance="almost free"),
        replace(price("f", 300.0), instance="ten times the usual"),
        replace(price("g", None, 0.05), instance="spot for nothing"),
        replace(price("h", 12.0, 0.2), instance="spot at a sixtieth"),
    ]
    kept = listed(*usual, *odd)
    assert [row.cloud for row in kept.prices] == ["a", "b", "c", "d", "h"]
    assert kept.prices[-1].spot_usd_per_h is None
    assert kept.dropped == 4
    # Alone there is nothing to compare with: only the bounds of any GPU hold.
    assert len(listed(price("e", 0.5)).prices) == 1
    assert len(listed(price("e", 0.1)).prices) == 0


def test_regions_of_one_instance_do_not_outvote_the_other_clouds() -> None:
    slips = [price("a", 900.0 / 8, region=f"r{n}") for n in range(40)]
    usual = [replace(price(cloud, usd), instance=cloud) for cloud, usd in (("b", 8.0), ("c", 9.0), ("d", 10.0))]
    assert {row.cloud for row in listed(*slips, *usual).prices} == {"b", "c", "d"}


def test_missing_clouds_are_kept_with_the_list(tmp_path: Path) -> None:
    prices = sane([price()], as_of=0.0, left_out=["gcp (AssertionError)", "oci (ProxyError)"])
    write_prices(prices, tmp_path / "prices.json")
    assert read_prices(tmp_path / "prices.json") == prices
    assert about_prices(prices, 7200.0) == "prices 2 h old · no catalog of gcp, oci"


def test_the_quota_is_named_where_an_account_has_little_of_it() -> None:
    spot, steady = offers_for(Wish(gpus=(A8,)), listed(replace(price("aws", 40.0, 12.0), instance="p4de.24xlarge")), priced)
    assert spot.quota is not None
    assert steady.quota is not None
    assert "L-7212CCBC" in spot.quota
    assert "L-417A185B" in steady.quota
    assert quota_of("gcp", "a2-ultragpu-8g", "A100-80GB", spot=True) == "PREEMPTIBLE_NVIDIA_A100_80GB_GPUS"
    assert quota_of("lambda", "gpu_8x", "A100-80GB", spot=False) is None


def test_the_notes_say_what_spot_comes_to() -> None:
    wins = offers_for(Wish(gpus=(A8,)), listed(price("aws", 40.0, 12.0)), priced)
    assert spot_sentence(wins).startswith("spot saves ")
    loses = offers_for(Wish(gpus=(A8,)), listed(price("aws", 40.0, 39.0)), priced)
    assert spot_sentence(loses).startswith("spot loses here: aws r1 on demand costs ")
    notes = offer_notes(loses, loses, max_cost=1.0)
    assert notes[0].startswith("loses: ")
    assert any(note.startswith("! above the cap of $1.00") for note in notes)
    alone = offers_for(Wish(gpus=(A8,), spot=False), listed(price("lambda", 14.0)), priced)
    assert offer_notes(alone, alone) == []


def test_saves_of_the_recipe_decide_what_a_preemption_costs() -> None:
    def spot(**options: object) -> Offer:
        config = CONFIG.model_copy(update=options)
        return offers_for(
            Wish(gpus=(A8,), spot=True), listed(price("aws", 40.0, 12.0)), lambda kind: estimate(config, MODEL, cards(kind), DATA)
        )[0]

    never, seldom, clock = spot(save_steps=None, save_strategy="no"), spot(save_steps=1500), spot(save_steps=None)
    totals = [offer.expected_usd.value for offer in (clock, seldom, never) if offer.expected_usd is not None]
    assert totals == sorted(totals)
    assert totals[2] > 1.2 * totals[0]
    assert clock.risk is not None
    assert clock.risk.save_interval_h is not None
    assert clock.risk.save_interval_h <= 0.5


def test_the_user_s_own_figure_of_the_risk_is_taken() -> None:
    told = offers_for(Wish(gpus=(A8,), spot=True, preemption_h=50.0), listed(price("aws", 40.0, 12.0)), priced)[0]
    assert told.risk is not None
    assert (told.risk.hours_between.value, told.risk.hours_between.basis) == (50.0, "launch.preemption_h")


def test_prices_without_a_recipe_show_each_instance_at_its_cheapest_region() -> None:
    rows = [price("aws", 40.0 + n, 16.0 + n, region=f"r{n}") for n in range(3)]
    lines = render_price_table(listed(*rows), now=3600.0).splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["aws", "r0", "spot"], ["aws", "r0", "A100-80GB.8"]]
    assert lines[1].split()[-1] == "2"
    assert "no machine with these GPUs is for sale" in render_price_table(listed(), now=0.0)


def test_what_skypilot_would_refuse_is_no_offer() -> None:
    rows = listed(price("aws", 40.0), price("runpod", 20.0), price("shadeform", 19.0), price("hyperbolic", 18.0))

    def clouds(**wish: object) -> set[str]:
        return {offer.cloud for offer in offers_for(replace(Wish(gpus=(A8,), spot=False), **wish), rows, priced)}

    # Hyperbolic's machines cannot be told to end themselves; RunPod's and Shadeform's know no others; Shadeform starts no containers.
    assert clouds() == {"aws", "runpod", "shadeform"}
    assert clouds(nodes=2) == {"aws"}
    assert clouds(image=True) == {"aws", "runpod"}
