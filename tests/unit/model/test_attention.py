"""The attention a recipe asks for, and the one transformers picks when it asks for none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.model.attention import FLAGS, attention_of

pytestmark = pytest.mark.train


def config(**given: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"attn_implementation": None, **dict.fromkeys(FLAGS), **given})


def test_a_recipe_that_says_nothing_leaves_the_choice_to_the_architecture() -> None:
    import torch
    from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

    shape = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    chosen = attention_of(config(), cuda=False)
    with torch.device("meta"):
        models = [
            AutoModelForCausalLM.from_config(made, attn_implementation=chosen) for made in (LlamaConfig(**shape), Gemma2Config(**shape))
        ]
    assert [model.config._attn_implementation for model in models] == ["sdpa", "eager"]


@pytest.mark.parametrize("flag", ["sdp_attention", "eager_attention"])
def test_a_flag_names_its_implementation(flag: str) -> None:
    assert attention_of(config(**{flag: True}), cuda=False) == FLAGS[flag]


@pytest.mark.parametrize("given", [{"flash_attention": True}, {"attn_implementation": "flash_attention_2"}, {"flex_attention": True}])
def test_what_a_cpu_cannot_train_with_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        attention_of(config(**given), cuda=False)
    assert caught.value.problems[0].path in given
