import json
from pathlib import Path
from typing import Any

import pytest

from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import Hardware, cards
from launcher.plan.environment import machine_of
from launcher.plan.fingerprint import pin_data
from launcher.plan.lock import is_lock, read_lock, write_lock
from launcher.plan.plan import Plan, make_plan
from launcher.plan.target import Target, target_of
from runtime.config.environment import ModelShape
from runtime.config.launch import LaunchConfig
from runtime.config.load import check_text
from runtime.config.problem import ExitCode, UserError
from runtime.config.schema import TrainingConfig

MODEL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
}
HERE = Target(
    cloud="local", hardware=Hardware(name="this machine", capacity_gib=16, cores=4, available_gib=12, rented=False), usd_per_h=0.0
)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(MODEL), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": "word " * 50}) for _ in range(100)), encoding="utf-8")
    return f"base_model: {model}\nlearning_rate: 0.001\noutput_dir: {tmp_path / 'out'}\ndatasets: [{{path: {tmp_path / 'rows.jsonl'}, type: completion}}]\n"


def config_of(text: str) -> TrainingConfig:
    checked = check_text(text, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return checked.config


def plan_of(text: str, *, target: Target = HERE, environment: dict[str, str] | None = None, **settings: Any) -> Plan:
    return make_plan(
        config_of(text),
        recipe=Path("recipe.yml"),
        target=target,
        run_name="calm-otter-1",
        environment=environment or {},
        now=1000.0,
        **settings,
    )


def test_this_machine_is_the_only_offer_and_costs_nothing(recipe: str) -> None:
    plan = plan_of(recipe)
    assert len(plan.offers) == 1
    offer = plan.offers[0]
    assert (offer.cloud, offer.usd_per_h, offer.verdict, offer.spot) == ("local", 0.0, "ok", False)
    assert plan.cost is not None
    assert plan.cost.high == 0
    assert not plan.refused


def test_a_run_that_does_not_fit_is_refused_with_what_would_help(recipe: str) -> None:
    small = Target(cloud="local", hardware=Hardware(name="this machine", capacity_gib=1.5, cores=1, rented=False), usd_per_h=0.0)
    with pytest.raises(UserError, match=r"has 1\.5 GiB") as caught:
        plan_of(recipe + "micro_batch_size: 256\n", target=small)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert "it fits with" in caught.value.problems[0].fix
    assert "micro_batch_size" in caught.value.problems[0].fix
    small = Target(cloud="local", hardware=Hardware(name="this machine", capacity_gib=0.5, cores=1, rented=False), usd_per_h=0.0)
    kept = plan_of(recipe, target=small, refuse=False)
    assert kept.refused
    assert kept.offers[0].verdict == "does-not-fit"


def test_a_cap_below_the_cheapest_outcome_is_refused(recipe: str) -> None:
    priced = Target(cloud="aws", hardware=cards(parse_gpus("A100:1")), usd_per_h=4.0)
    with pytest.raises(UserError, match="cap is") as caught:
        plan_of(recipe + "launch: {max_cost_usd: 0.01}\n", target=priced)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert not plan_of(recipe + "launch: {max_cost_usd: 1000}\n", target=priced).refused
    with pytest.raises(UserError, match=r"cap is 0\.0001 h"):
        plan_of(recipe + "launch: {max_hours: 0.0001}\n")


def test_an_unknown_model_leaves_memory_open_and_warns(recipe: str, tmp_path: Path) -> None:
    text = recipe.replace(str(tmp_path / "model"), "nobody/knows-this")
    plan = plan_of(text, environment={"HF_HOME": str(tmp_path)})
    assert plan.estimate is None
    assert [problem.code for problem in plan.warnings] == ["unknown-model"]
    assert plan.to_json()["memory"] is None


def test_secrets_are_named_and_their_values_stay_out(recipe: str) -> None:
    plan = plan_of(recipe + "launch: {secrets: [HF_TOKEN, WANDB_API_KEY]}\n", environment={"HF_TOKEN": "hf_verysecret"})
    assert plan.secrets == (("HF_TOKEN", True), ("WANDB_API_KEY", False))
    assert "verysecret" not in json.dumps(plan.to_json())


def test_a_push_is_named_and_its_token_looked_for(recipe: str, tmp_path: Path) -> None:
    text = recipe + "hub_model_id: me/mine\nhub_revision: dev\n"
    home = {"HF_HOME": str(tmp_path)}
    plan = plan_of(text, environment=home)
    assert plan.secrets == (("HF_TOKEN", False),)
    assert plan.after[-1] == "push to me/mine (dev), private, and compare"
    (tmp_path / "token").write_text("hf_verysecret", encoding="utf-8")
    stored = plan_of(text + "launch: {publish: {private: false}}\n", environment=home)
    assert stored.secrets == (("HF_TOKEN", True),)
    assert stored.after[-1] == "push to me/mine (dev), public if new, and compare"
    assert "verysecret" not in json.dumps(stored.to_json())


def test_data_elsewhere_without_a_revision_is_warned_about(recipe: str, tmp_path: Path) -> None:
    text = recipe.replace(str(tmp_path / "rows.jsonl"), "org/rows") + "max_steps: 5\n"
    assert "not-pinned" in [problem.code for problem in plan_of(text).warnings]
    pinned = text.replace("path: org/rows", "path: org/rows, revision: 1a2b3c")
    assert "not-pinned" not in [problem.code for problem in plan_of(pinned).warnings]


def test_the_pin_changes_with_the_data(recipe: str, tmp_path: Path) -> None:
    config = config_of(recipe)
    before = pin_data(config)
    assert before.sha256 == pin_data(config).sha256
    with (tmp_path / "rows.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('\n{"text": "more"}')
    assert pin_data(config).sha256 != before.sha256


def test_a_written_plan_reads_back_as_the_same_run(recipe: str, tmp_path: Path) -> None:
    plan = plan_of(recipe)
    path = tmp_path / "plan.lock"
    write_lock(path, plan, folder=tmp_path)
    assert is_lock(path)
    lock = read_lock(path)
    assert (lock.run, lock.folder) == ("calm-otter-1", tmp_path)
    assert lock.checked.config == config_of(recipe)


def test_a_plan_whose_data_changed_is_refused(recipe: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.lock"
    write_lock(path, plan_of(recipe), folder=tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"text": "other"}', encoding="utf-8")
    with pytest.raises(UserError, match="has changed since") as caught:
        read_lock(path)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_a_plan_that_was_edited_is_refused(recipe: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.lock"
    write_lock(path, plan_of(recipe), folder=tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("learning_rate: 0.001", "learning_rate: 0.9"), encoding="utf-8")
    with pytest.raises(UserError, match="was edited"):
        read_lock(path)


@pytest.mark.parametrize("content", ["", "base_model: x\n", "{}", '{"schema": "other"}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "plan.lock"
    path.write_text(content, encoding="utf-8")
    assert not is_lock(path)
    with pytest.raises(UserError, match="not a plan"):
        read_lock(path)


def test_a_refused_plan_is_not_written(recipe: str, tmp_path: Path) -> None:
    small = Target(cloud="local", hardware=Hardware(name="this machine", capacity_gib=0.1, cores=1, rented=False), usd_per_h=0.0)
    with pytest.raises(UserError):
        write_lock(tmp_path / "plan.lock", plan_of(recipe, target=small, refuse=False), folder=tmp_path)
    assert not (tmp_path / "plan.lock").exists()


def test_the_launch_section_names_the_target() -> None:
    assert target_of(LaunchConfig()) is None
    local = target_of(LaunchConfig(cloud="local"))
    assert local is not None
    assert local.is_local
    gpus = target_of(LaunchConfig(gpus=["L4:2", "A100:1"], nodes=3))
    assert gpus is not None
    assert gpus.hardware.place.gpus == 6


def test_a_target_that_cannot_compute_the_recipe_refuses_it_with_its_line(recipe: str) -> None:
    text = recipe + "bf16: true\nfp16: false\ntf32: auto\n"
    old = Target(cloud="", hardware=cards(parse_gpus("T4:2")))
    checked = check_text(text, file="recipe.yml")
    plan = plan_of(text, target=old, document=checked.document, refuse=False)
    assert [(problem.code, problem.path, problem.line) for problem in plan.refusals] == [("environment", "bf16", 5)]
    with pytest.raises(UserError) as caught:
        plan_of(text, target=old)
    assert caught.value.exit_code == ExitCode.REFUSED
    new = plan_of(text, target=Target(cloud="", hardware=cards(parse_gpus("A100:2"))))
    assert new.to_json()["resolved"] == [{"option": "tf32", "value": True, "why": "A100 has TF32 units"}]


def test_this_machine_is_asked_about_itself(recipe: str) -> None:
    plan = plan_of(recipe + "tf32: true\n", refuse=False)
    assert [problem.message for problem in plan.refusals] == [
        "tf32 needs an NVIDIA GPU of compute capability 8.0 or above, and this run is on a machine without a GPU"
    ]


def test_the_model_s_shape_is_known_to_the_rules(recipe: str) -> None:
    made = plan_of(recipe).estimate
    assert made is not None
    machine = machine_of(HERE.hardware, made.model.facts)
    assert machine.model == ModelShape(heads=4, kv_heads=4, parameters=made.model.facts.parameters)
    assert (machine.gpu, machine.world_size, machine.packages) == (None, 1, None)
    assert machine_of(cards(parse_gpus("B300:4"), nodes=2)).world_size == 8
    assert machine_of(cards(parse_gpus("B300:4"))).compute_capability == (10, 3)
    assert machine_of(cards(parse_gpus("MI300X"))).compute_capability is None
