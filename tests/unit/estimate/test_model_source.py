import json
from pathlib import Path

import pytest

from launcher.estimate.model_source import find_model
from runtime.config.problem import ExitCode, UserError

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
}


def test_a_local_folder_wins_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    source = find_model(str(tmp_path))
    assert (source.facts.layers, source.folder) == (2, tmp_path)
    assert source.origin.endswith("config.json")


def test_a_given_config_serves_any_name(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG), encoding="utf-8")
    assert find_model("nobody/knows-this", model_config=file).facts.hidden == 64


def test_the_hub_cache_is_read_before_shipped_facts(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--meta-llama--Llama-3.1-8B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert find_model("meta-llama/Llama-3.1-8B", environment={"HF_HOME": str(tmp_path)}).facts.hidden == 64
    assert find_model("meta-llama/Llama-3.1-8B", environment={"HF_HOME": str(tmp_path / "empty")}).origin == "shipped facts"


def test_an_unknown_model_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--model-config") as caught:
        find_model("nobody/knows-this", environment={"HF_HOME": str(tmp_path)})
    assert caught.value.exit_code == ExitCode.INVALID
    assert caught.value.problems[0].code == "unknown-model"


@pytest.mark.parametrize("content", ["[]", "{", '{"model_type": "llama"}'])
def test_a_broken_config_is_one_problem(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="not a model config"):
        find_model(str(tmp_path))


def test_changes_of_the_recipe_are_laid_over_the_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert find_model(str(tmp_path), changes={"num_hidden_layers": 5}).facts.layers == 5
