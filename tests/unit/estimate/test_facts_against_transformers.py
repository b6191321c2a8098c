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

# Those whose defaults are no whole model, whose names are of a config's inner half, or which are compared below.
NO_DEFAULTS = {
    "ministral",
    "nemotron",
    "dots1",
    "hunyuan_v1_dense",
    "hunyuan_v1_moe",
    "lfm2_moe",
    "gemma3n_text",
    "gemma4_text",
    "qwen2_vl_text",
    "qwen2_5_vl_text",
    "qwen3_vl_text",
    "qwen3_vl_moe_text",
}
ROUTED = {"n_routed_experts": 6, "moe_intermediate_size": 48, "num_experts_per_tok": 2}

# Every architecture as its config class defaults it (three layers), and shapes that move every switch its description reads.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in BUILDERS if name not in NO_DEFAULTS],
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
    ("apertus", {**SMALL, "attention_bias": True}),
    ("bitnet", {**SMALL, "tie_word_embeddings": True}),
    ("hunyuan_v1_dense", {**SMALL, "head_dim": 16, "pad_token_id": 0}),
    ("hunyuan_v1_moe", {**SMALL, "head_dim": 16, "num_experts": 5, "pad_token_id": 0}),
    ("glm4_moe", {**SMALL, **ROUTED, "head_dim": 16, "use_qk_norm": True, "attention_bias": True, "first_k_dense_replace": 2}),
    ("glm4_moe_lite", {**SMALL, **ROUTED, "num_key_value_heads": 6, "q_lora_rank": 32, "kv_lora_rank": 24}),
    ("dots1", {**SMALL, **ROUTED, "num_key_value_heads": 6, "head_dim": 16, "n_shared_experts": 2, "first_k_dense_replace": 1}),
    ("exaone_moe", {**SMALL, "num_experts": 5, "moe_intermediate_size": 48, "num_shared_experts": 2, "first_k_dense_replace": 2}),
    ("solar_open", {**SMALL, **ROUTED, "head_dim": 16}),
    ("ernie4_5_moe", {**SMALL, "moe_num_experts": 6, "moe_intermediate_size": 48, "moe_num_shared_experts": 1, "moe_layer_start_index": 2}),
    ("granitemoe", {**SMALL, "num_local_experts": 5, "attention_bias": True}),
    ("granitemoeshared", {**SMALL, "num_local_experts": 5, "shared_intermediate_size": 64}),
    (
        "llama4_text",
        {**SMALL, "num_hidden_layers": 4, "num_local_experts": 5, "intermediate_size_mlp": 200, "interleave_moe_layer_step": 2},
    ),
    ("phimoe", {**SMALL, "num_local_experts": 5, "attention_bias": True}),
    ("minimax_m2", {**SMALL, "num_local_experts": 5, "head_dim": 16}),
    ("qwen3_next", {**SMALL, **MOE, "num_hidden_layers": 4, "num_experts": 5, "shared_expert_intermediate_size": 40}),
    ("qwen3_5_text", {**SMALL, "num_hidden_layers": 8, "head_dim": 16, "linear_num_value_heads": 8, "linear_value_head_dim": 16}),
    ("qwen3_5_moe_text", {**SMALL, **MOE, "num_hidden_layers": 4, "num_experts": 5, "shared_expert_intermediate_size": 40}),
    ("lfm2", {**SMALL, "layer_types": ["conv", "full_attention", "conv"]}),
    ("lfm2", {**SMALL, "block_auto_adjust_ff_dim": False, "conv_bias": True, "layer_types": ["conv", "full_attention", "conv"]}),
    (
        "lfm2_moe",
        {**SMALL, "num_experts": 5, "moe_intermediate_size": 48, "num_dense_layers": 2, "layer_types": ["conv", "full_attention", "conv"]},
    ),
    (
        "gemma3n_text",
        {
            **SMALL,
            "num_hidden_layers": 5,
            "num_kv_shared_layers": 0,
            "vocab_size_per_layer_input": 300,
            "hidden_size_per_layer_input": 16,
            "intermediate_size": [160, 160, 160, 80, 80],
            "activation_sparsity_pattern": None,
            "layer_types": ["sliding_attention"] * 4 + ["full_attention"],
            "pad_token_id": 0,
        },
    ),
    ("gemma4_text", {**SMALL, "hidden_size_per_layer_input": 0, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]}),
    (
        "gemma4_text",
        {
            **SMALL,
            "num_hidden_layers": 6,
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": 300,
            "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
            "attention_k_eq_v": True,
            "enable_moe_block": True,
            "num_experts": 5,
            "top_k_experts": 2,
            "moe_intermediate_size": 48,
            "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) + ["sliding_attention"] * 2 + ["full_attention"],
        },
    ),
]

SIGLIP = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 64, "patch_size": 16}
QWEN_VISION = {"depth": 2, "num_heads": 4, "patch_size": 8}
# Vision-language models: the language half small, the vision half with every switch moved.
TOWERS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("gemma3", {"model_type": "siglip_vision_model", **SIGLIP}, {"mm_tokens_per_image": 4}),
    ("gemma3", {"model_type": "siglip_vision_model", **SIGLIP, "vision_use_head": False}, {"mm_tokens_per_image": 4}),
    ("mistral3", {"model_type": "pixtral", **SIGLIP, "head_dim": 12}, {"multimodal_projector_bias": True}),
    ("llava", {"model_type": "clip_vision_model", **SIGLIP}, {}),
    ("llava", {"model_type": "siglip_vision_model", **SIGLIP, "vision_use_head": False}, {"multimodal_projector_bias": False}),
    ("qwen2_vl", {**QWEN_VISION, "embed_dim": 64, "hidden_size": 96, "mlp_ratio": 2}, {}),
    ("qwen2_5_vl", {**QWEN_VISION, "hidden_size": 64, "intermediate_size": 80, "out_hidden_size": 96}, {}),
    (
        "qwen3_vl",
        {**QWEN_VISION, "hidden_size": 64, "intermediate_size": 80, "out_hidden_size": 96, "deepstack_visual_indexes": [0, 1]},
        {},
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


@pytest.mark.parametrize(("model_type", "vision", "settings"), TOWERS, ids=[f"{number}-{name}" for number, (name, *_) in enumerate(TOWERS)])
def test_the_count_of_a_vision_language_model_is_exact(model_type: str, vision: dict[str, Any], settings: dict[str, Any]) -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

    kind = CONFIG_MAPPING[model_type]
    text = dict(SMALL) | ({"model_type": "llama"} if model_type == "llava" else {})
    config = kind(text_config=text | ({"head_dim": 16} if model_type in ("gemma3", "mistral3") else {}), vision_config=vision, **settings)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    facts = facts_from_config(config.to_dict())
    assert facts.exact
    assert facts.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_enough_shapes_are_compared() -> None:
    assert len(VARIANTS) + len(TOWERS) >= 60
    assert {name for name, _ in VARIANTS} | {f"{name}_text" for name, *_ in TOWERS} >= set(BUILDERS) - {"qwen3_vl_moe_text"}
