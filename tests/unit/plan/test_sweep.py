"""A sweep's runs under one budget, in folders of their own."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import cards
from launcher.plan.plan import Plan, make_plan
from launcher.plan.prices import Price, PriceList
from launcher.plan.sweep import Member, SweepPlan, clashes_of, make_sweep, shares_of
from launcher.plan.target import Target
from launcher.show.sweep_screen import render_sweep
from runtime.config.load import check_text
from runtime.config.problem import Problem
from runtime.config.schema import TrainingConfig

MODEL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
}
KIND = parse_gpus("A100:1")
RENTED = Target(cloud="aws", hardware=cards(KIND), kinds=(KIND,), spot=False)
PRICES = PriceList(
    prices=(
        Price(cloud="aws", region="us-east-1", instance="p4", gpu="A100", count=1, usd_per_h=4.0, spot_usd_per_h=None),
        Price(cloud="aws", region="eu-west-1", instance="p4", gpu="A100", count=1, usd_per_h=9.0, spot_usd_per_h=None),
    ),
    dropped=0,
    as_of=0.0,
)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(MODEL), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": "word " * 50}) for _ in range(100)), encoding="utf-8")
    return f"base_model: {model}\nlearning_rate: 0.001\ndatasets: [{{path: {tmp_path / 'rows.jsonl'}, type: completion}}]\n"


def config_of(text: str, *sets: str) -> TrainingConfig:
    checked = check_text(text, file="recipe.yml", overrides=sets)
    assert checked.config is not None, checked.errors
    return checked.config


def member(number: int, **values: str) -> Member:
    return Member(sweep="calm-otter", number=number, values=values)


def plan_of(config: TrainingConfig, one: Member) -> Plan:
    return make_plan(
        one.applied(config),
        recipe=Path("recipe.yml"),
        target=RENTED,
        run_name=one.run,
        environment={},
        now=0.0,
        prices=PRICES,
        refuse=False,
    )


def sweep_of(text: str, cap: float | None, **settings: Any) -> SweepPlan:
    members = [member(1, num_epochs="1"), member(2, num_epochs="30000")]
    plans = [plan_of(config_of(text, f"num_epochs={one.values['num_epochs']}"), one) for one in members]
    return make_sweep(members, plans, axes={"num_epochs": ("1", "30000")}, max_cost_usd=cap, **settings)


def test_the_cap_is_shared_out_by_expected_cost(recipe: str) -> None:
    free = sweep_of(recipe, None)
    assert free.cost is not None
    costs = [plan.cost.value for plan in free.plans if plan.cost is not None]
    assert costs[1] > 2 * costs[0]
    cap = 2 * free.cost.value
    sweep = sweep_of(recipe, cap)
    assert not sweep.refused
    assert [plan.max_cost_usd for plan in sweep.plans] == pytest.approx([2 * cost for cost in costs], rel=1e-4)
    # The dearer region is above what the run may cost now, and comes last.
    assert [offer.verdict for offer in sweep.plans[1].offers] == ["ok", "over-budget"]
    assert sweep.to_json()["budget"]["shares_usd"] == {plan.run: plan.max_cost_usd for plan in sweep.plans}


def test_more_than_the_cap_together_is_refused_for_all(recipe: str) -> None:
    free = sweep_of(recipe, None)
    assert free.cost is not None
    # Each run alone is below the cap, and so is the cheap end of both together.
    cap = 0.99 * free.cost.value
    assert free.cost.low < cap
    refused = sweep_of(recipe, cap)
    assert [problem.code for problem in refused.refusals] == ["over-budget"]
    assert "together" in refused.refusals[0].message
    assert "Refused: the 2 runs are expected to cost" in render_sweep(refused, width=100, color=False)


@given(st.floats(0.01, 1e4), st.lists(st.one_of(st.none(), st.floats(0, 1e4)), min_size=1, max_size=10))
@example(1.5, [5e-324])
def test_shares_never_exceed_the_cap(cap: float, expected: list[float | None]) -> None:
    shares = shares_of(cap, expected)
    assert len(shares) == len(expected)
    assert sum(shares) <= cap + 1e-5 * len(shares)
    known = [usd for usd in expected if usd is not None]
    if len(known) == len(expected) and 0 < sum(known) <= cap:
        assert all(share >= usd - 1e-5 for share, usd in zip(shares, known, strict=True))


def test_each_run_has_a_folder_and_a_name_of_its_own(recipe: str) -> None:
    one, two = member(1, lora_r="8"), member(2, lora_r="16")
    named = config_of(recipe, "output_dir=out/here/", "launch.max_cost_usd=5")
    assert [m.applied(named).output_dir for m in (one, two)] == ["out/here/calm-otter-1", "out/here/calm-otter-2"]
    assert [m.applied(named).launch.name for m in (one, two)] == ["calm-otter-1", "calm-otter-2"]
    assert one.applied(named).launch.max_cost_usd is None
    # Without one in the recipe, the run's own name makes the folder later on.
    assert "output_dir" not in one.applied(config_of(recipe)).model_fields_set


def test_runs_that_would_push_to_one_place_are_refused(recipe: str) -> None:
    members = [member(1, hub_revision="a"), member(2, hub_revision="b"), member(3, hub_revision="a")]
    configs = [config_of(recipe, "hub_model_id=me/mine", f"hub_revision={one.values['hub_revision']}") for one in members]
    (problem,) = clashes_of(members, configs)
    assert problem.message == "calm-otter-1, calm-otter-3 would push their models to the same place: me/mine"
    assert not clashes_of(members[:2], configs[:2])
    assert not clashes_of(members, [config_of(recipe)] * 3)


def test_what_is_wrong_with_all_is_told_once_and_the_rest_by_value(recipe: str) -> None:
    members = [member(1, lora_r="8"), member(2, lora_r="16")]
    plans = [plan_of(config_of(recipe), one) for one in members]
    everywhere, there = Problem(code="a", message="all have it"), Problem(code="b", message="one has it")
    from dataclasses import replace

    itself = Problem(code="c", message="it says so", place="--set lora_r=16")
    plans = [replace(plans[0], refusals=(everywhere,)), replace(plans[1], refusals=(everywhere, there, itself))]
    told = make_sweep(members, plans, axes={"lora_r": ("8", "16")}, max_cost_usd=None).refusals
    assert [problem.message for problem in told] == ["all have it", "with lora_r=16: one has it", "it says so"]


def test_the_screen_has_a_row_a_run_and_their_sum(recipe: str) -> None:
    sweep = sweep_of(recipe, 1000.0)
    text = render_sweep(sweep, width=110, color=False)
    assert "sweep calm-otter of 2 runs: num_epochs (2)" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("calm-otter-")]
    assert [row[:2] for row in rows] == [["calm-otter-1", "1"], ["calm-otter-2", "30000"]]
    assert text.rstrip().splitlines()[-1].startswith("2 runs side by side: expected $")
    assert "never above $1,000" in text
