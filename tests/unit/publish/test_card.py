"""The model card is valid for the Hub whatever the names in it."""

from __future__ import annotations

import pytest
import yaml

from runtime.publish.card import Facts, render_card

FACTS = {
    "run": "quiet-otter",
    "base_model": "org/model",
    "base_is_on_hub": True,
    "method": "LoRA",
    "datasets": ("org/data", 'odd "name": [x].jsonl'),
    "hub_datasets": ("org/data",),
    "rows": 12345,
    "steps": 300,
    "epochs": 2.4,
    "sequence_len": 4096,
    "packing": True,
    "learning_rate": 2e-4,
    "optimizer": "adamw_torch_fused",
    "schedule": "cosine",
    "lora": "r 16, alpha 32, dropout 0",
    "seed": 42,
    "final_loss": 1.23456,
    "eval_loss": None,
    "versions": {"torch": "2.13.0"},
}


@pytest.mark.parametrize(("merged", "library"), [(False, "peft"), (True, "transformers")])
def test_the_header_is_metadata_the_hub_reads(merged: bool, library: str) -> None:
    card = render_card(Facts(**FACTS), merged=merged)
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == library
    assert yaml.safe_load(header)["base_model"] == "org/model"
    assert yaml.safe_load(header)["datasets"] == ["org/data"]
    assert "12,345 packed rows of at most 4,096 tokens" in body
    assert "1.2346" in body
    assert "evaluation loss" not in body
    assert ("PeftModel" in body) is not merged


def test_a_local_base_is_not_claimed_to_be_on_the_hub() -> None:
    header = render_card(Facts(**{**FACTS, "base_is_on_hub": False, "hub_datasets": (), "base_model": "tiny"})).split("---\n")[1]
    assert set(yaml.safe_load(header)) == {"library_name", "pipeline_tag", "tags"}
