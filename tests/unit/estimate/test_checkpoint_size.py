"""The size of a checkpoint, against what runs have sealed."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.estimate.checkpoint_size import checkpoint_gb, final_gb
from launcher.estimate.model_source import find_model
from launcher.estimate.place import Place
from launcher.estimate.recipe_step import step_of
from runtime.config.schema import TrainingConfig

LORA = {"adapter": "lora", "lora_r": 16, "lora_alpha": 32, "lora_target_linear": True}


def sizes(**options: Any) -> tuple[float, float]:
    """(bytes of a checkpoint, bytes of the final model) on a CPU."""
    config = TrainingConfig.model_validate(
        {
            "base_model": "./examples/models/tiny-llama",
            "learning_rate": 1e-3,
            "datasets": [{"path": "x", "type": "alpaca"}],
            "micro_batch_size": 2,
            "sequence_len": 256,
            **options,
        }
    )
    facts = find_model(config.base_model, environment={}).facts
    workload = step_of(config, facts, Place(device="cpu", bf16=False)).workload
    return checkpoint_gb(config, facts, workload) * 1e9, final_gb(config, facts, workload) * 1e9


# All files of the sealed checkpoints of runs with these options on a CPU, torch 2.13, transformers 5, peft 0.21.
@pytest.mark.parametrize(
    ("options", "sealed"),
    [
        ({}, 29_240_843),
        ({"save_only_model": True}, 9_911_639),
        ({"optimizer": "adafactor"}, 10_036_271),
        ({"unfrozen_parameters": ["model.layers.0.*"]}, 13_183_492),
        (LORA, 2_996_193),
        (LORA | {"adapter": "qlora", "load_in_4bit": True}, 2_996_214),
        (LORA | {"relora": True, "jagged_restart_steps": 1}, 9_487_707),
        (LORA | {"lora_modules_to_save": ["embed_tokens", "lm_head"]}, 21_872_587),
    ],
    ids=["full", "weights-only", "adafactor", "unfrozen", "lora", "qlora", "relora", "embeddings"],
)
def test_a_checkpoint_weighs_what_runs_have_sealed(options: dict[str, Any], sealed: int) -> None:
    assert sizes(**options)[0] == pytest.approx(sealed, rel=0.04)


def test_the_final_model_is_the_adapter_and_the_merged_model() -> None:
    whole = sizes()[1]
    both, alone = sizes(**LORA)[1], sizes(**LORA, launch={"publish": {"merge": False}})[1]
    assert alone < 0.2 * whole
    assert both - alone == pytest.approx(2 * 2_411_000, rel=0.01)
    assert sizes(**LORA, relora=True, jagged_restart_steps=1)[1] == pytest.approx(both - alone, rel=0.1)


def test_grokfast_keeps_a_mean_of_every_gradient() -> None:
    assert sizes(grokfast_alpha=0.98)[0] - sizes()[0] == pytest.approx(9_644_752, rel=0.01)
