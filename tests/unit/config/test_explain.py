"""Every option can be explained, and so can old names and misspelt ones."""

from __future__ import annotations

import json

import pytest

from runtime.config.explain import explanation, explanations
from runtime.config.json_schema import json_schema
from runtime.config.problem import UserError


@pytest.mark.parametrize("name", ["datasets[].type", "datasets[0].type", "datasets.type"])
def test_one_option_can_be_named_in_several_ways(name: str) -> None:
    entry = explanation(name)
    assert (entry.path, entry.type) == ("datasets[].type", "text or a mapping")
    assert "alpaca" in entry.values
    assert "format" in entry.keys


def test_an_explanation_says_type_default_and_effect() -> None:
    assert explanation("lora_r").lines()[2:] == [
        "type      a whole number, at least 1",
        "default   unset",
        "effect    passed to LoraConfig.r",
    ]
    assert explanation("base_model").required
    assert explanation("sequence_len").default == 512
    assert not explanation("rl").supported


def test_an_old_name_explains_the_current_one() -> None:
    assert explanation("noisy_embedding_alpha").path == "neftune_noise_alpha"
    assert "noisy_embedding_alpha" in explanation("neftune_noise_alpha").also_called


def test_a_misspelt_option_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UserError) as caught:
        explanation("learnng_rate")
    assert caught.value.problems[0].suggestion == "learning_rate"
    with pytest.raises(UserError) as caught:
        explanation("num_generations")
    assert caught.value.problems[0].suggestion == "trl.num_generations"


def test_all_explanations_are_json() -> None:
    entries = explanations()
    assert len(entries) > 800
    for entry in entries:
        assert json.loads(json.dumps(entry.as_json()))["path"] == entry.path
        assert entry.lines()


def test_the_json_schema_describes_and_forbids() -> None:
    schema = json_schema()
    properties = schema["properties"]
    assert schema["additionalProperties"] is False
    assert [set(choice["required"]) for choice in schema["anyOf"]] == [{"base_model", "learning_rate"}, {"extends"}]
    assert properties["model_type"]["deprecated"] is True
    assert "adamw_torch" in properties["optimizer"]["examples"]
    assert [name for name, entry in properties.items() if not entry.get("description")] == []
    assert "not supported here yet" in properties["rl"]["description"]
