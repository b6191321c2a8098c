"""The screens as golden files beside this one. `LAUNCHER_GOLDEN=write pytest tests/unit/show_plan` writes them anew: read the difference."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.estimate.advice import advice_on
from launcher.estimate.estimate import estimate
from launcher.estimate.fitting import fits
from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import Hardware, cards
from launcher.estimate.model_source import find_model
from launcher.estimate.range import Range, exactly
from launcher.estimate.rows import DataSize
from launcher.plan.plan import Plan, make_plan
from launcher.plan.prices import Price, PriceList, sane
from launcher.plan.sweep import Member, make_sweep
from launcher.plan.target import Target
from launcher.show.advice import render_advice
from launcher.show.estimate_screen import render_estimate
from launcher.show.fit_table import render_fits
from launcher.show.plan_screen import render_plan
from launcher.show.sweep_screen import render_sweep
from runtime.config.schema import TrainingConfig

GOLDEN = Path(__file__).parent / "golden"
HERE = Target(
    cloud="local", hardware=Hardware(name="this machine", capacity_gib=23.4, cores=2, available_gib=20.0, rented=False), usd_per_h=0.0
)
DATA = DataSize(
    rows=exactly(214_880),
    tokens=Range(value=50_200_000, low=40_000_000, high=75_000_000),
    longest=1914,
    basis="200,800,000 characters in local files at 4.0 to a token",
)

QLORA = TrainingConfig.model_validate(
    {
        "base_model": "meta-llama/Llama-3.1-8B",
        "learning_rate": 2e-4,
        "datasets": [{"path": "acme/chats", "type": "chat_template", "revision": "dce01c9"}],
        "adapter": "qlora",
        "load_in_4bit": True,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_target_linear": True,
        "sequence_len": 4096,
        "sample_packing": True,
        "micro_batch_size": 2,
        "gradient_checkpointing": True,
        "max_steps": 500,
        "save_steps": 50,
        "launch": {"secrets": ["HF_TOKEN"], "max_cost_usd": 25},
    }
)
TINY = QLORA.model_copy(
    update={
        "base_model": "HuggingFaceTB/SmolLM2-135M",
        "adapter": "lora",
        "load_in_4bit": False,
        "micro_batch_size": 1,
        "sequence_len": 256,
        "max_steps": 120,
    }
)


def plan_of(config: TrainingConfig, target: Target, *, prices: PriceList | None = None) -> Plan:
    return make_plan(
        config,
        recipe=Path("recipe.yml"),
        target=target,
        run_name="quiet-otter-7f3",
        environment={"HF_TOKEN": "x", "HF_HOME": "/nonexistent"},
        now=0.0,
        prices=prices,
        refuse=False,
    )


def compare(name: str, screen: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("LAUNCHER_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(screen + "\n", encoding="utf-8")
    assert file.read_text(encoding="utf-8") == screen + "\n"


def test_plan_on_this_machine() -> None:
    compare("plan_local", render_plan(plan_of(TINY, HERE), width=110, color=False))


def test_plan_on_a_gpu_without_prices() -> None:
    compare("plan_gpu", render_plan(plan_of(QLORA, Target(cloud="", hardware=cards(parse_gpus("A100-80GB:8")))), width=120, color=False))


def test_a_plan_with_prices() -> None:
    def price(cloud: str, instance: str, usd: float | None, spot: float | None) -> Price:
        return Price(cloud=cloud, region="r1", instance=instance, gpu="A100-80GB", count=8, usd_per_h=usd, spot_usd_per_h=spot)

    prices = sane(
        [
            price("aws", "p4de.24xlarge", 40.97, 16.9),
            price("lambda", "gpu_8x_a100", 14.32, None),
            price("gcp", "a2-ultragpu-8g", 40.5, 40.0),
            price("oci", "free", 0.0, None),
        ],
        as_of=-7200.0,
        left_out=["azure (ProxyError)"],
    )
    launch = QLORA.launch.model_copy(update={"storage": "gs://bucket/runs"})
    config = QLORA.model_copy(update={"launch": launch, "save_steps": None, "max_steps": 6000})
    target = Target(cloud="", hardware=cards(parse_gpus("A100-80GB:8")), kinds=(parse_gpus("A100-80GB:8"),))
    plan = plan_of(config, target, prices=prices)
    compare("plan_priced", render_plan(plan, width=120, color=False))
    narrow = render_plan(plan, width=60, color=False)
    assert all(len(line) <= 60 for line in narrow.splitlines())


def test_a_sweep_with_prices() -> None:
    kinds = (parse_gpus("A100-80GB:8"),)
    row = Price(cloud="aws", region="r1", instance="p4de.24xlarge", gpu="A100-80GB", count=8, usd_per_h=40.97, spot_usd_per_h=16.9)
    prices = PriceList(prices=(row,), dropped=0, as_of=-7200.0)
    target = Target(cloud="", hardware=cards(kinds[0]), kinds=kinds)
    members = [
        Member(sweep="quiet-otter-7f3", number=number, values={"max_steps": steps, "lora_r": rank})
        for number, (steps, rank) in enumerate([("2000", "8"), ("2000", "64"), ("6000", "8"), ("6000", "64")], 1)
    ]
    launch = QLORA.launch.model_copy(update={"storage": "gs://bucket/runs", "max_hours": 24.0})
    plans = []
    for member in members:
        update = {"launch": launch, "max_steps": int(member.values["max_steps"]), "lora_r": int(member.values["lora_r"])}
        plan = plan_of(member.applied(QLORA.model_copy(update=update)), target, prices=prices)
        plans.append(replace(plan, run=member.run))
    axes = {"max_steps": ("2000", "6000"), "lora_r": ("8", "64")}
    compare("sweep_priced", render_sweep(make_sweep(members, plans, axes=axes, max_cost_usd=1000.0), width=110, color=False))
    refused = render_sweep(make_sweep(members, plans, axes=axes, max_cost_usd=100.0), width=60, color=False)
    compare("sweep_refused", refused)
    assert all(len(line) <= 60 for line in refused.splitlines())


def test_advice_under_an_estimate_that_does_not_fit() -> None:
    model = find_model("meta-llama/Llama-3.1-8B", environment={"HF_HOME": "/nonexistent"})
    config = QLORA.model_copy(update={"micro_batch_size": 4, "gradient_accumulation_steps": 2})
    advice = advice_on(config, model, DATA, estimate(config, model, cards(parse_gpus("L4:1")), DATA))
    compare("advice", render_advice(advice, [], prices=None, now=0.0, width=110, color=False))
    roomy = advice_on(config, model, DATA, estimate(config, model, cards(parse_gpus("H100:1")), DATA))
    assert render_advice(roomy, [], prices=None, now=0.0, width=110, color=False).lstrip().startswith("room: micro_batch_size up to ")


def test_a_refused_plan() -> None:
    compare("plan_refused", render_plan(plan_of(QLORA, HERE), width=110, color=False))


def test_a_narrow_terminal_loses_no_line() -> None:
    screen = render_plan(plan_of(TINY, HERE), width=60, color=False)
    compare("plan_narrow", screen)
    assert all(len(line) <= 60 for line in screen.splitlines())
    for name in ("config", "data", "memory", "time", "saves", "budget", "secrets", "after"):
        assert any(line.startswith(name) for line in screen.splitlines()), name


def test_one_estimate() -> None:
    model = find_model("meta-llama/Llama-3.1-8B", environment={"HF_HOME": "/nonexistent"})
    compare("estimate_gpu", render_estimate(estimate(QLORA, model, cards(parse_gpus("L4:1")), DATA), width=110, color=False))


def test_the_table_of_gpus() -> None:
    config = QLORA.model_copy(update={"adapter": None, "load_in_4bit": False})
    model = find_model("meta-llama/Llama-3.1-8B", environment={"HF_HOME": "/nonexistent"})
    rows = fits(config, model, DATA)
    compare("fits", render_fits(next(row.estimate for row in rows if row.count), rows, width=110, color=False))


def test_colour_is_only_where_it_is_asked_for() -> None:
    plan = plan_of(TINY, HERE)
    assert "\x1b[" not in render_plan(plan, width=100, color=False)
    assert "\x1b[" in render_plan(plan, width=100, color=True)


def test_the_last_line_is_the_sentence_about_money() -> None:
    assert render_plan(plan_of(TINY, HERE), width=110, color=False).splitlines()[-1].startswith("Runs on this machine: $0")


def test_a_run_of_unknown_length_still_has_a_price_an_hour() -> None:
    one = Price(cloud="aws", region="r1", instance="i", gpu="A100-80GB", count=8, usd_per_h=40.0, spot_usd_per_h=None)
    target = Target(cloud="", hardware=cards(parse_gpus("A100-80GB:8")), kinds=(parse_gpus("A100-80GB:8"),))
    unknown = QLORA.model_copy(update={"max_steps": None})
    screen = render_plan(plan_of(unknown, target, prices=sane([one], as_of=0.0)), width=110, color=False)
    assert screen.splitlines()[-1] == "Runs on aws r1, 8×A100-80GB: $40.0 an hour, for an unknown time, never above $25.0."


@pytest.mark.parametrize("verdict", ["fits", "tight", "does-not-fit"])
def test_each_verdict_has_its_word(verdict: str) -> None:
    plan = plan_of(TINY, HERE)
    assert plan.estimate is not None
    changed = replace(plan, estimate=replace(plan.estimate, memory=replace(plan.estimate.memory, verdict=verdict)))  # type: ignore[arg-type]
    word = "refused" if verdict == "does-not-fit" else verdict
    line = next(line for line in render_plan(changed, width=110, color=False).splitlines() if line.startswith("memory"))
    assert line.split()[1] == word
