"""Editors accept what the launcher accepts, underline what it refuses, and explain what they complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.config.json_schema import json_schema
from runtime.config.renames import ALIASES, DATASET_RENAMED, RENAMED

validators = pytest.importorskip("jsonschema", reason="jsonschema is not installed here")

SCHEMA = json_schema()
GOOD: dict[str, Any] = {"base_model": "org/model", "learning_rate": 0.0002, "datasets": [{"path": "rows.jsonl", "type": "alpaca"}]}


def faults(recipe: dict[str, Any]) -> list[str]:
    """The places of what is wrong with a recipe, as an editor sees it."""
    return sorted(".".join(str(part) for part in error.absolute_path) or error.message for error in _validator().iter_errors(recipe))


def _validator() -> Any:
    return validators.Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    validators.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", ["quickstart.yml", "qlora-8b.yml", "full-1b.yml", "smollm2-lora.yml"])
def test_the_examples_are_valid(name: str, checkout: Path) -> None:
    assert faults(yaml.safe_load((checkout / "examples" / name).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "more",
    [
        {"seed": None, "strict": None, "val_set_size": None, "launch": None, "sample_packing": None},
        {"datasets": [{"path": "a", "type": {"format": "{instruction}"}, "shards": None, "train_on_split": "train"}]},
        {"model_type": "AutoModelForCausalLM", "model_revision": "main", "evaluation_strategy": "steps"},
        {"fsdp_config": {"fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer", "fsdp_version": 2}},
        {"launch": {"gpus": ["A100:8", "H100:8"], "publish": {"merge": False}}},
    ],
)
def test_what_the_launcher_reads_is_valid(more: dict[str, Any]) -> None:
    assert faults({**GOOD, **more}) == []


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"lora_rr": 8}, "lora_rr"),
        ({"lora_r": "many"}, "lora_r"),
        ({"lora_r": 0}, "lora_r"),
        ({"datasets": [{"path": "a", "tpye": "alpaca"}]}, "tpye"),
        ({"launch": {"gpu": "A100"}}, "launch"),
        ({"gradient_checkpointing": "unsloth"}, "gradient_checkpointing"),
        ({"base_model": None}, "base_model"),
        ({"sample_packing": "yes"}, "sample_packing"),
    ],
)
def test_what_the_launcher_refuses_is_underlined(more: dict[str, Any], place: str) -> None:
    found = list(_validator().iter_errors({**GOOD, **more}))
    assert len(found) == 1
    assert place in f"{found[0].json_path} {found[0].message} {[inner.message for inner in found[0].context]}"


def test_a_recipe_that_extends_another_may_leave_out_what_that_says() -> None:
    assert faults({"extends": "./base.yml", "seed": 1}) == []
    assert len(list(_validator().iter_errors({"seed": 1}))) == 1


def test_every_key_has_a_text_to_hover_over_and_a_default_or_is_required() -> None:
    for name, section in {"": SCHEMA, **SCHEMA["$defs"]}.items():
        if "properties" not in section:
            continue
        assert section["additionalProperties"] is False, name
        for key, entry in section["properties"].items():
            assert len(entry.get("description", "")) > 9, (name, key)
            empty_by_default = any(kind in str(entry) for kind in ("$ref", "items", "object"))
            assert "default" in entry or key in required_in(section) or empty_by_default or key == "extends", (name, key)


def test_old_names_are_struck_through_and_second_names_are_not() -> None:
    assert all(SCHEMA["properties"][old]["deprecated"] for old in RENAMED)
    assert not any("deprecated" in SCHEMA["properties"][other] for other in ALIASES)
    assert all(SCHEMA["$defs"]["DatasetSource"]["properties"][old]["deprecated"] for old in DATASET_RENAMED)


def required_in(section: dict[str, Any]) -> set[str]:
    """What a section must say; at the top, unless the recipe extends another one."""
    return set(section.get("required") or next((choice["required"] for choice in section.get("anyOf", ()) if "required" in choice), ()))
