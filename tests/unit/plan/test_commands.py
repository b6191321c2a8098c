"""`launcher estimate` and `launcher plan` as a script sees them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODEL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 1000,
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(MODEL), encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": "word " * 50}) for _ in range(40)), encoding="utf-8")
    file = tmp_path / "recipe.yml"
    file.write_text("base_model: ./model\nlearning_rate: 0.001\ndatasets: [{path: rows.jsonl, type: completion}]\n", encoding="utf-8")
    return file


def launcher(*words: str, folder: Path) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "launcher", *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def data_of(out: str) -> dict[str, Any]:
    answer = json.loads(out)
    assert set(answer) == {"schema", "ok", "data", "warnings", "error"}
    data: dict[str, Any] = answer["data"]
    return data


def test_the_estimate_has_the_promised_shape(recipe: Path) -> None:
    code, out, _ = launcher("estimate", "recipe.yml", "--gpus", "A100:2", "--json", folder=recipe.parent)
    data = data_of(out)
    assert code == 0
    memory = data["memory"]
    assert {"per_gpu_gib", "tensors_gib", "breakdown_gib", "peak_phase", "card_gib", "verdict", "not_modelled"} <= set(memory)
    assert {"weights", "adapter", "gradients", "optimizer", "activations", "logits", "buffers"} <= set(memory["breakdown_gib"])
    assert sum(memory["breakdown_gib"].values()) == pytest.approx(memory["tensors_gib"], abs=1e-3)
    assert memory["card_gib"] == 39.38
    assert memory["per_gpu_gib"]["low"] <= memory["per_gpu_gib"]["value"] <= memory["per_gpu_gib"]["high"]
    assert {"tokens", "steps", "tokens_per_s_per_gpu", "hours", "basis"} <= set(data["time"])
    assert data["offers"] == []
    assert [warning["code"] for warning in json.loads(out)["warnings"]] == ["no-prices"]


def test_without_gpus_every_kind_is_tried(recipe: Path) -> None:
    code, out, _ = launcher("estimate", "recipe.yml", "--json", folder=recipe.parent)
    assert code == 0
    assert len(data_of(out)["fits"]) >= 32


def test_what_does_not_fit_ends_with_three(recipe: Path) -> None:
    words = ("estimate", "recipe.yml", "--set", "base_model=meta-llama/Llama-3.1-70B", "--gpus", "T4:1")
    code, out, _ = launcher(*words, folder=recipe.parent)
    assert code == 3
    assert "does not fit" in out


def test_an_unknown_model_or_gpu_is_a_clear_refusal(recipe: Path) -> None:
    code, out, err = launcher("estimate", "recipe.yml", "--set", "base_model=nobody/knows-this", "--gpus", "T4", folder=recipe.parent)
    assert (code, out) == (2, "")
    assert "--model-config" in err
    code, _, err = launcher("estimate", "recipe.yml", "--gpus", "T5:1", folder=recipe.parent)
    assert code == 2
    assert "T4" in err
    assert "Traceback" not in err


def test_a_plan_is_shown_written_and_refused_by_its_exit_code(recipe: Path) -> None:
    code, out, err = launcher("plan", "recipe.yml", "--cloud", "local", "-o", "plan.lock", folder=recipe.parent)
    assert code == 0, err
    assert out.rstrip().splitlines()[-1].startswith("Runs on this machine: $0")
    assert json.loads((recipe.parent / "plan.lock").read_text(encoding="utf-8"))["schema"] == "launcher.plan/1"
    words = ("plan", "recipe.yml", "--cloud", "local", "--max-hours", "0.00001", "-o", "refused.lock", "--json")
    code, out, _ = launcher(*words, folder=recipe.parent)
    assert code == 3
    assert json.loads(out)["error"]["code"] == "over-budget"
    assert not (recipe.parent / "refused.lock").exists()


def test_variables_are_values_and_a_folder_of_templates_may_be_named(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    (recipe.parent / "own").mkdir()
    (recipe.parent / "own" / "batch.jinja").write_text("micro_batch_size: {{ rows * 2 }}\n", encoding="utf-8")
    recipe.write_text(f"{text}{{% include 'batch.jinja' %}}\n", encoding="utf-8")
    words = ("recipe.yml", "--var", "rows=3", "--templates", "own", "--json")
    code, _, err = launcher("estimate", *words, "--gpus", "A100:1", folder=recipe.parent)
    assert code == 0, err
    code, _, err = launcher("plan", *words, "--cloud", "local", "-o", "p.lock", folder=recipe.parent)
    assert code == 0, err
    assert json.loads((recipe.parent / "p.lock").read_text(encoding="utf-8"))["options"]["micro_batch_size"] == 6
    code, _, err = launcher("up", "p.lock", "-n", "--var", "rows=4", folder=recipe.parent)
    assert code == 2
    assert "it takes no --var" in err


def test_a_plan_without_a_place_says_how_to_name_one(recipe: Path) -> None:
    code, _, err = launcher("plan", "recipe.yml", folder=recipe.parent)
    assert code == 2
    assert "--cloud local" in err


def test_kinds_that_cannot_compute_a_recipe_are_left_out_with_the_reason(recipe: Path) -> None:
    code, out, _ = launcher("estimate", "recipe.yml", "--set", "flash_attention=true", "--set", "bf16=true", "--json", folder=recipe.parent)
    assert code == 0
    rows = {row["gpu"]: row for row in reversed(data_of(out)["fits"])}
    assert rows["T4"]["count"] is None
    assert "bf16" in rows["T4"]["unable"] or "flash" in rows["T4"]["unable"].lower()
    assert rows["A100"]["count"] == 1
    assert rows["A100"]["unable"] is None


def test_a_sweep_is_planned_as_a_whole_and_each_run_is_written_with_its_share(recipe: Path) -> None:
    words = (
        "plan",
        "recipe.yml",
        "--cloud",
        "local",
        "--name",
        "try",
        "--set",
        "learning_rate=1e-4,2e-4",
        "--max-cost",
        "5",
        "-o",
        "try.lock",
        "--json",
    )
    code, out, err = launcher(*words, folder=recipe.parent)
    assert code == 0, err
    data = data_of(out)
    assert (data["sweep"], data["axes"], data["lock"]) == ("try", {"learning_rate": ["1e-4", "2e-4"]}, "try.lock")
    assert [(run["run"], run["values"]["learning_rate"]) for run in data["runs"]] == [("try-1", "1e-4"), ("try-2", "2e-4")]
    lock = json.loads((recipe.parent / "try.lock").read_text(encoding="utf-8"))
    assert [run["options"]["learning_rate"] for run in lock["runs"]] == [1e-4, 2e-4]
    assert [run["options"]["launch"]["max_cost_usd"] for run in lock["runs"]] == [2.5, 2.5]
    code, out, err = launcher("up", "try.lock", "--dry-run", "--json", folder=recipe.parent)
    assert code == 0, err
    assert [run["run"] for run in data_of(out)["runs"]] == ["try-1", "try-2"]
    code, _, err = launcher("up", "try.lock", "--dry-run", "--max-hours", "1", folder=recipe.parent)
    assert code == 2
    assert "it takes no --max-hours" in err
