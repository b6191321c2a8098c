"""The rendered task: what a user wrote is data in it, whatever it is."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.estimate.range import Range
from launcher.plan.offer import Offer, SpotRisk
from launcher.task.inputs import Input, with_inputs
from launcher.task.making import make_task
from launcher.task.resources import Choice, choices_of, offers_in, preemption_h_of, prices_of, ranked
from launcher.task.room import Room, room_in
from launcher.task.scalars import scalar, text_block
from launcher.task.task import Task, node_config, render_task
from runtime.config.load import check_text, load_config
from runtime.config.problem import UserError
from runtime.config.resources import data_dir

HOSTILE = (
    "'",
    '"',
    "a\nb: c",
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME}",
    "{{ 7 * 7 }}{% raw %}",
    "../../etc/passwd",
    "; touch pwned #",
    "\N{SNOWMAN}\U0001f600\x7f\x85\u2028",
    "- item",
    "!!python/object:os.system",
    "key: |\n  x",
    "\\",
    " ",
)
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60))


PLAIN = "base_model: a/b\ndatasets:\n  - {path: org/rows, type: alpaca}\nmicro_batch_size: 1\nlearning_rate: 0.0001\nlaunch:\n"


def config_with(launch: str) -> Any:
    checked = check_text(PLAIN + launch, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return checked.config


def task(**given: Any) -> Task:
    choice = Choice(gpus="A100:8", infra="", spot=False)
    return Task(**({"run": "kind-otter-x7k", "config_text": "a: 1\n", "choices": (choice,)} | given))


def offer(cloud: str, usd: float, *, spot: bool, gpus: str = "8×A100", region: str = "r") -> Offer:
    return Offer(
        cloud=cloud, region=region, instance="i", gpus=gpus, usd_per_h=usd, spot=spot, expected_usd=None, expected_h=None, verdict="ok"
    )


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_a_scalar_is_that_text_and_one_line(text: str) -> None:
    assert yaml.safe_load(f"key: {scalar(text)}\nnext: 1\n") == {"key": text, "next": 1}
    assert "\n" not in scalar(text)


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_a_block_is_that_text(text: str) -> None:
    assert yaml.safe_load(f"outer:\n  key: {text_block(text, indent=4)}\n  next: 1\n") == {"outer": {"key": text, "next": 1}}


@settings(max_examples=20, deadline=None)
@given(value=TEXTS, config=TEXTS, image=TEXTS)
def test_every_value_of_the_user_is_a_value_of_the_task(value: str, config: str, image: str) -> None:
    rendered = yaml.safe_load(render_task(task(settings={"LAUNCHER_RECIPE": value}, config_text=config, image=image or "x")))
    assert rendered["envs"] == {"LAUNCHER_RECIPE": value, "LAUNCHER_CONFIG": config}
    assert rendered["resources"]["image_id"] == f"docker:{image or 'x'}"
    plain = yaml.safe_load(render_task(task()))
    assert {key: rendered[key] for key in ("setup", "run", "name", "num_nodes")} == {
        key: plain[key] for key in ("setup", "run", "name", "num_nodes")
    }


@pytest.mark.parametrize("value", HOSTILE)
def test_the_scripts_run_with_hostile_values_as_data(value: str, tmp_path: Path) -> None:
    rendered = yaml.safe_load(render_task(task(settings={"LAUNCHER_RECIPE": value}, config_text=value)))
    programs = tmp_path / "bin"
    programs.mkdir()
    # Stands in for Python: tells what it was given.
    (programs / "python3").write_text(
        '#!/bin/bash\nprintf "%s\\0" "$@" > "$HOME/arguments"\nprintf "%s" "$LAUNCHER_RECIPE" > "$HOME/recipe"\nprintf "%s" "$LAUNCHER_CONFIG" > "$HOME/config"\n'
    )
    (programs / "python3").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{programs}:{os.environ['PATH']}", **rendered["envs"]}
    for script, word in ((rendered["setup"], "prepare"), (rendered["run"], "run")):
        done = subprocess.run(
            ["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "arguments").read_text() == f"-P\0-m\0launcher.backend.node\0{word}\0"
    assert (tmp_path / "recipe").read_bytes().decode() == value
    assert (tmp_path / "config").read_bytes().decode() == value
    assert not list(tmp_path.rglob("pwned"))


def test_spot_and_on_demand_are_both_allowed_where_the_recipe_leaves_it_open() -> None:
    config = config_with("  gpus: [A100:8, H100:4]\n  cloud: aws\n  region: us-east-1\n")
    dear, cheap = offer("aws", 32.0, spot=False), offer("aws", 9.0, spot=True)
    choices = choices_of(config.launch, [cheap, dear])
    assert [(choice.gpus, choice.infra, choice.spot) for choice in choices] == [
        ("A100:8", "aws/us-east-1", True),
        ("A100:8", "aws/us-east-1", False),
        ("H100:4", "aws/us-east-1", True),
        ("H100:4", "aws/us-east-1", False),
    ]
    assert [choice.spot for choice in choices_of(config.launch, [dear, cheap])] == [False, False]
    rendered = yaml.safe_load(render_task(task(choices=choices)))
    assert rendered["resources"]["any_of"][0] == {"accelerators": "A100:8", "infra": "aws/us-east-1", "use_spot": True}


def test_several_regions_are_tried_and_a_list_in_its_order() -> None:
    config = config_with("  gpus: [A100:8, H100:4]\n  cloud: aws\n  region: [us-east-1, us-west-2]\n  spot: true\n")
    assert [(choice.gpus, choice.infra) for choice in choices_of(config.launch)] == [
        ("A100:8", "aws/us-east-1"),
        ("A100:8", "aws/us-west-2"),
        ("H100:4", "aws/us-east-1"),
        ("H100:4", "aws/us-west-2"),
    ]
    anywhere = config_with("  gpus: A100:8\n  region: [gcp/us-central1, us-east-1]\n  prefer: listed\n")
    choices = choices_of(anywhere.launch)
    assert [(choice.infra, choice.spot) for choice in choices] == [
        ("gcp/us-central1", True),
        ("*/us-east-1", True),
        ("gcp/us-central1", False),
        ("*/us-east-1", False),
    ]
    rendered = yaml.safe_load(render_task(task(choices=choices, ordered=True)))["resources"]
    assert [one["infra"] for one in rendered["ordered"]][:2] == ["gcp/us-central1", "*/us-east-1"]
    assert "any_of" not in rendered


def test_a_cap_on_money_reckons_with_the_dearest_machine_of_each_place() -> None:
    config = config_with("  gpus: A100:8\n  spot: true\n")
    offers = [
        offer("aws", 9.0, spot=True),
        offer("aws", 12.0, spot=True, region="s"),
        offer("gcp", 7.0, spot=True),
        offer("aws", 32.0, spot=False),
    ]
    prices = prices_of(choices_of(config.launch), offers)
    assert prices == {"aws/r": 9.0, "aws/s": 12.0, "aws": 12.0, "gcp/r": 7.0, "gcp": 7.0, "": 12.0}


def test_the_machine_saves_for_the_riskiest_offer_it_may_be() -> None:
    def risky(hours: float, gpus: str = "8×A100") -> Offer:
        risk = SpotRisk(
            hours_between=Range(value=hours, low=hours / 2, high=hours * 2, basis="x"), preemptions=None, save_interval_h=None, loses=False
        )
        return replace(offer("aws", 9.0, spot=True, gpus=gpus), risk=risk)

    spot = Choice(gpus="A100:8", infra="aws", spot=True)
    offers = [risky(6.0), risky(2.5), risky(0.5, gpus="8×H100"), offer("aws", 32.0, spot=False)]
    assert preemption_h_of([spot], offers) == 2.5
    assert preemption_h_of([replace(spot, spot=False)], offers) is None
    written = json.loads(json.dumps({"offers": [one.to_json() for one in offers]}))
    assert preemption_h_of([spot], offers_in(written)) == 2.5, "a plan.lock says the same"


def test_what_is_expected_and_the_risk_travel_with_the_task(tmp_path: Path) -> None:
    config = config_with("  gpus: A100:8\n  spot: true\n")
    risk = SpotRisk(hours_between=Range(value=3.0, low=1.0, high=9.0), preemptions=None, save_interval_h=None, loses=False)
    offers = [replace(offer("aws", 9.0, spot=True), risk=risk)]
    made = make_task(config, run="r", recipe="r.yml", cwd=tmp_path, environment={}, offers=offers, expected_gib=31.25)
    assert made.task.settings["LAUNCHER_PREEMPTION_H"] == "3"
    assert made.task.settings["LAUNCHER_EXPECTED_GIB"] == "31.2500"


def test_a_plan_that_was_written_down_knows_the_disk_and_the_memory() -> None:
    written = {"model": {"parameters": 8_000_000_000}, "saves": {"disk_gb": 3.0, "final_gb": 16.0}, "memory": {"host_gib": 0.0}}
    assert room_in(written) == Room(disk_gb=140)
    assert room_in(written | {"memory": {"host_gib": 119.2}}) == Room(disk_gb=140, memory_gib=152)
    assert room_in({"model": None, "saves": None}) == room_in({})
    assert room_in({}).disk_gb > 140


def test_only_shards_in_host_memory_ask_for_memory(tmp_path: Path) -> None:
    config = config_with("  gpus: 'A100:8'\n")
    for room, asked in ((Room(disk_gb=70, memory_gib=152), "152+"), (Room(disk_gb=70), None)):
        made = make_task(config, run="r", recipe="r.yml", cwd=tmp_path, environment={}, room=room)
        assert yaml.safe_load(render_task(made.task))["resources"].get("memory") == asked


def test_local_paths_travel_under_names_of_ours(tmp_path: Path) -> None:
    (tmp_path / "my model $(x)").mkdir()
    (tmp_path / "my model $(x)" / "config.json").write_text("{}")
    (tmp_path / "rows 'a'.jsonl.gz").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.json").write_text("{}")
    text = """
base_model: "./my model $(x)"
datasets:
  - {path: "rows 'a'.jsonl.gz", type: alpaca}
  - {path: folder, data_files: a.json, type: alpaca}
  - {path: org/on-the-hub, type: alpaca}
micro_batch_size: 1
learning_rate: 0.0001
"""
    checked = check_text(text, file=str(tmp_path / "r.yml"))
    assert checked.config is not None, checked.errors
    config = checked.config
    moved, inputs = with_inputs(config, cwd=tmp_path)
    assert moved.base_model == "inputs/base-model"
    assert [(source.path, source.data_files) for source in moved.datasets] == [
        ("inputs/datasets-0.jsonl.gz", None),
        ("inputs/datasets-1", "a.json"),
        ("org/on-the-hub", None),
    ]
    assert {item.name for item in inputs} == {"base-model", "datasets-0.jsonl.gz", "datasets-1"}
    assert dict(inputs[0].files()) == {"base-model/config.json": tmp_path / "my model $(x)" / "config.json"}


def test_a_path_that_skypilot_would_read_differently_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"path with \$"):
        render_task(task(inputs=(Input(name="datasets-0", source=tmp_path / "$HOME"),)))


def test_the_config_of_a_task_reads_as_the_recipe_does(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"{PLAIN}  gpus: A100:8\n  storage: s3://bucket/x\n")
    config = load_config(recipe).config
    made = make_task(
        config, run="kind-otter-x7k", recipe="recipe.yml", cwd=tmp_path, environment={"HF_TOKEN": "x", "AWS_ACCESS_KEY_ID": "k"}
    )
    rendered = yaml.safe_load(render_task(made.task))
    again = check_text(rendered["envs"]["LAUNCHER_CONFIG"], file="again.yml").config
    assert again.model_dump(exclude_unset=True) == node_config(config, run="kind-otter-x7k").model_dump(exclude_unset=True)
    assert rendered["secrets"] == {"AWS_ACCESS_KEY_ID": None}


def test_the_machine_that_is_announced_is_tried_first() -> None:
    config = config_with("  gpus: [A100:8, H100:4]\n")
    dear, cheap = offer("aws", 12.0, spot=True, gpus="4×H100", region="us-east-1"), offer("gcp", 9.0, spot=True, region="us-central1")
    steady, full = offer("lambda", 30.0, spot=False, region="us-south-1"), replace(offer("vast", 1.0, spot=True), verdict="does-not-fit")

    def places(*offers: Offer) -> tuple[bool, list[tuple[str, str, bool]]]:
        made = make_task(config, run="r", recipe="r.yml", cwd=Path(), environment={}, offers=offers).task
        return made.ordered, [(choice.gpus, choice.infra, choice.spot) for choice in made.choices]

    anywhere = [("A100:8", "", True), ("A100:8", "", False), ("H100:4", "", True), ("H100:4", "", False)]
    # Dearer by the hour, and done sooner: SkyPilot by itself would take the other one.
    assert places(dear, cheap, steady, full) == (
        True,
        [("H100:4", "aws/us-east-1", True), ("A100:8", "gcp/us-central1", True), ("A100:8", "lambda/us-south-1", False), *anywhere],
    )
    assert places(cheap, dear, steady, full) == (False, anywhere)
    assert places() == (False, [choice for choice in anywhere if not choice[2]])


def test_a_gpu_is_asked_for_by_the_name_it_is_sold_under() -> None:
    config = config_with("  gpus: H100:8\n  spot: false\n")
    sold = [replace(offer("runpod", 20.0, spot=False, gpus="8×H100"), accelerator=name) for name in ("H100-SXM", "H100")]
    assert [choice.gpus for choice in choices_of(config.launch, sold)] == ["H100-SXM:8", "H100:8"]
    assert [choice.gpus for choice in choices_of(config.launch)] == ["H100:8"]
    cheaper = replace(offer("aws", 10.0, spot=False, gpus="8×H100"), accelerator="H100")
    assert [choice.gpus for choice in ranked(choices_of(config.launch, sold), [*sold, cheaper])][:3] == ["H100-SXM:8", "H100:8", "H100:8"]
    written = json.loads(json.dumps({"offers": [one.to_json() for one in sold]}))
    assert [one.accelerator for one in offers_in(written)] == ["H100-SXM", "H100"], "a plan.lock says the same"


def test_an_own_template_that_gives_no_task_is_refused(tmp_path: Path) -> None:
    own = tmp_path / "sky" / "task.yml.jinja"
    own.parent.mkdir()
    own.write_text('# ours\n{% include "shipped/sky/task.yml.jinja" %}')
    assert render_task(task(), folders=(tmp_path, data_dir("templates"))) == "# ours\n" + render_task(task())
    for text in ("a: [1", "just words"):
        own.write_text(text)
        with pytest.raises(UserError, match="no task of SkyPilot"):
            render_task(task(), folders=(tmp_path, data_dir("templates")))


def test_the_ports_of_the_recipe_are_opened() -> None:
    config = config_with("  gpus: A100:8\n  ports: [6006, 8080]\n")
    made = make_task(config, run="r", recipe="r.yml", cwd=Path(), environment={})
    assert yaml.safe_load(render_task(made.task))["resources"]["ports"] == [6006, 8080]
    for wrong in ("0", "70000", "x"):
        assert check_text(f"{PLAIN}  gpus: A100:8\n  ports: [{wrong}]\n", file="r.yml").errors
