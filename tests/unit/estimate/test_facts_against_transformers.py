"""Parameter counts against the real classes on the meta device."""

from typing import Any

import pytest

from launcher.estimate.architectures import BUILDERS, facts_from_config

pytestmark = pytest.mark.train

SMALL = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 320,
}
MOE = {"moe_intermediate_size": 48, "num_experts_per_tok": 2}

# Every architecture as its config class defaults it (three layers), and shapes that move every switch its description reads.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in BUILDERS if name not in ("ministral", "nemotron")],
    ("llama", {**SMALL, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("llama", {**SMALL, "head_dim": 32}),
    ("mistral", {**SMALL, "head_dim": 24}),
    ("ministral", {**SMALL, "head_dim": 24, "layer_types": ["full_attention"] * 3}),
    ("mixtral", {**SMALL, "num_local_experts": 5}),
    ("qwen2", {**SMALL, "tie_word_embeddings": True}),
    ("qwen2_moe", {**SMALL, **MOE, "num_experts": 6, "shared_expert_intermediate_size": 80, "mlp_only_layers": [1]}),
    ("qwen2_moe", {**SMALL, **MOE, "num_experts": 6, "shared_expert_intermediate_size": 80, "decoder_sparse_step": 2}),
    ("qwen3", {**SMALL, "head_dim": 32, "attention_bias": True}),
    ("qwen3_moe", {**SMALL, **MOE, "num_experts": 6, "head_dim": 32, "mlp_only_layers": [0, 2]}),
    ("gemma", {**SMALL, "head_dim": 24}),
    ("gemma2", {**SMALL, "head_dim": 24, "attention_bias": True}),
    ("gemma3_text", {**SMALL, "head_dim": 24}),
    ("phi", {**SMALL, "qk_layernorm": True, "num_key_value_heads": 6}),
    ("phi3", {**SMALL, "tie_word_embeddings": True, "pad_token_id": 0}),
    (
        "falcon",
        {
            "hidden_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "vocab_size": 320,
            "new_decoder_architecture": True,
            "num_kv_heads": 2,
            "bias": True,
        },
    ),
    (
        "falcon",
        {
            "hidden_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "vocab_size": 320,
            "multi_query": False,
            "parallel_attn": False,
            "alibi": True,
        },
    ),
    ("gpt2", {"n_embd": 96, "n_layer": 2, "n_head": 6, "n_positions": 50, "n_inner": 100, "vocab_size": 320}),
    ("gpt_bigcode", {"n_embd": 96, "n_layer": 2, "n_head": 6, "n_positions": 50, "vocab_size": 320, "multi_query": False}),
    (
        "gpt_neox",
        {
            "hidden_size": 96,
            "intermediate_size": 100,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "vocab_size": 320,
            "attention_bias": False,
        },
    ),
    ("gptj", {"n_embd": 96, "n_layer": 2, "n_head": 6, "vocab_size": 320}),
    (
        "opt",
        {
            "hidden_size": 96,
            "ffn_dim": 100,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "vocab_size": 320,
            "word_embed_proj_dim": 32,
            "do_layer_norm_before": False,
        },
    ),
    ("mpt", {"d_model": 96, "n_layers": 2, "n_heads": 6, "vocab_size": 320}),
    ("bloom", {"hidden_size": 96, "n_layer": 2, "n_head": 6, "vocab_size": 320}),
    ("starcoder2", {**SMALL, "use_bias": False}),
    ("stablelm", {**SMALL, "use_qkv_bias": True, "use_parallel_residual": True}),
    ("olmo", {**SMALL, "attention_bias": True}),
    ("olmo2", {**SMALL, "tie_word_embeddings": True}),
    ("olmoe", {**SMALL, "num_experts": 6}),
    ("cohere", {**SMALL, "use_qk_norm": True}),
    ("granite", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    ("nemotron", {**SMALL, "head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    ("glm", {**SMALL, "head_dim": 16, "attention_bias": False, "pad_token_id": 0}),
    ("glm4", {**SMALL, "head_dim": 16, "pad_token_id": 0}),
    ("gpt_oss", {**SMALL, "num_local_experts": 5, "head_dim": 16, "attention_bias": False}),
    (
        "deepseek_v2",
        {
            **SMALL,
            **MOE,
            "num_key_value_heads": 6,
            "n_routed_experts": 6,
            "n_shared_experts": 2,
            "q_lora_rank": None,
            "kv_lora_rank": 24,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8,
            "v_head_dim": 12,
            "first_k_dense_replace": 1,
        },
    ),
    (
        "deepseek_v3",
        {
            **SMALL,
            **MOE,
            "num_key_value_heads": 6,
            "n_routed_experts": 8,
            "n_group": 2,
            "topk_group": 1,
            "q_lora_rank": 32,
            "kv_lora_rank": 24,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8,
            "v_head_dim": 12,
            "first_k_dense_replace": 2,
        },
    ),
]


@pytest.mark.parametrize(("model_type", "settings"), VARIANTS, ids=[f"{number}-{name}" for number, (name, _) in enumerate(VARIANTS)])
def test_the_count_is_exact(model_type: str, settings: dict[str, Any]) -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[model_type](**settings)
    if model_type == "gemma3":
        config = config.text_config
    if not settings:
        for key in ("num_hidden_layers", "n_layer", "n_layers"):
            if hasattr(config, key):
                setattr(config, key, 3)
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:3]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    facts = facts_from_config(config.to_dict())
    assert facts.exact
    assert facts.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_enough_shapes_are_compared() -> None:
    assert len(VARIANTS) >= 60
