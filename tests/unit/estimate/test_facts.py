"""Counts that can be checked by hand, or against the numbers model cards give."""

import pytest

from launcher.estimate.architectures import UnknownArchitectureError, facts_from_config
from launcher.estimate.known_models import known_config, known_models
from launcher.estimate.weights import adapter_parameters
from launcher.estimate.workload import Adapter

PUBLISHED = {
    # Sums of the tensor sizes in the published safetensors indexes.
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-2-9b": 9_241_705_984,
    "microsoft/phi-2": 2_779_683_840,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "gpt2": 124_439_808,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "tiiuae/falcon-7b": 6_921_720_704,
    "bigcode/starcoder2-3b": 3_030_371_328,
}


@pytest.mark.parametrize(("model", "parameters"), PUBLISHED.items())
def test_shipped_shapes_add_up_to_the_published_size(model: str, parameters: int) -> None:
    config = known_config(model)
    assert config is not None
    assert facts_from_config(config).parameters == parameters


@pytest.mark.parametrize("model", known_models())
def test_every_shipped_shape_is_read_by_a_description_of_its_own(model: str) -> None:
    config = known_config(model)
    assert config is not None
    facts = facts_from_config(config, name=model)
    assert facts.exact or facts.notes == ("the vision or audio tower is not counted",)
    assert facts.parameters > 1e6


def test_lora_counts_rank_times_both_widths_of_each_target() -> None:
    facts = facts_from_config(known_config("meta-llama/Llama-2-7b-hf") or {})
    # 32 layers, q and v of 4096 x 4096, rank 8.
    assert adapter_parameters(facts, Adapter(rank=8, targets=("q_proj", "v_proj"))) == 32 * 2 * 8 * (4096 + 4096)
    every = 32 * 16 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert adapter_parameters(facts, Adapter(rank=16)) == every


def test_a_tied_head_counts_once() -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "vocab_size": 1000,
    }
    untied = facts_from_config(config).parameters
    assert untied - facts_from_config({**config, "tie_word_embeddings": True}).parameters == 64_000


def test_a_mixture_multiplies_a_token_with_its_own_experts_only() -> None:
    facts = facts_from_config(known_config("mistralai/Mixtral-8x7B-v0.1") or {})
    assert facts.multiplied_weights == pytest.approx(12.75e9, rel=0.01)


def test_an_unknown_architecture_is_read_as_llama_and_says_so() -> None:
    facts = facts_from_config(
        {
            "model_type": "novel",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 100,
        }
    )
    assert not facts.exact
    assert "novel" in facts.notes[0]


def test_a_config_without_widths_is_refused() -> None:
    with pytest.raises(UnknownArchitectureError, match="hidden_size"):
        facts_from_config({"model_type": "llama"})


def test_the_language_half_of_a_vision_model_is_read() -> None:
    inner = {
        "model_type": "gemma3_text",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 100,
    }
    facts = facts_from_config({"model_type": "some_vision_model", "text_config": inner, "vision_config": {}})
    assert (facts.hidden, facts.layers, facts.exact) == (64, 2, False)
