"""Which layers of a model get an adapter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from runtime.config.schema import TrainingConfig
from runtime.model.adapter import with_adapter

pytestmark = pytest.mark.train

LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def adapted(**options: Any) -> set[str]:
    """Last names of the layers that an adapter with these options changes."""
    shape = LlamaConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=32)
    with torch.device("meta"):
        model = LlamaForCausalLM(shape)
    config = TrainingConfig.model_validate(
        {"base_model": "m", "learning_rate": 0.1, "adapter": "lora", "lora_r": 2, "lora_alpha": 2} | options
    )
    return {name.split(".")[-2] for name, _ in with_adapter(model, config).named_modules() if name.endswith(".lora_A")}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lora_target_linear": True}, LINEAR),
        ({"lora_target_modules": "all-linear"}, LINEAR),
        ({"lora_target_modules": ["q_proj", "up_proj"]}, {"q_proj", "up_proj"}),
        ({"lora_target_modules": r"model\.layers\.1\.mlp\.(up|down)_proj"}, {"up_proj", "down_proj"}),
        ({"lora_target_linear": True, "lora_target_modules": ["q_proj"]}, LINEAR),
        ({"lora_target_linear": True, "lora_target_modules": ["q_proj", "lm_head"]}, LINEAR | {"lm_head"}),
        ({"lora_target_linear": True, "lora_target_modules": "lm_.*"}, LINEAR | {"lm_head"}),
        ({"lora_target_linear": True, "lora_target_modules": "all-linear"}, LINEAR),
    ],
)
def test_the_named_layers_are_adapted_and_linear_ones_besides(options: dict[str, Any], expected: set[str]) -> None:
    assert adapted(**options) == expected
