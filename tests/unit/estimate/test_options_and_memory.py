"""Every option that changes memory changes the estimate, and in the right direction."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.estimate.estimate import MemoryEstimate, memory_estimate
from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import cards
from launcher.estimate.model_source import find_model
from launcher.estimate.recipe_step import step_of
from runtime.config.effects import table
from runtime.config.schema import TrainingConfig

FULL: dict[str, Any] = {
    "base_model": "meta-llama/Llama-3.1-8B",
    "learning_rate": 1e-5,
    "datasets": [{"path": "x", "type": "alpaca"}],
    "bf16": True,
    "sequence_len": 4096,
    "micro_batch_size": 8,
    "sample_packing": True,
    "flash_attention": True,
    "optimizer": "adamw_torch",
}
LORA = FULL | {"adapter": "lora", "lora_r": 16, "lora_alpha": 16, "lora_target_linear": True}
QLORA = LORA | {"adapter": "qlora", "load_in_4bit": True}
CHECKED = {"gradient_checkpointing": True}
LONG = LORA | CHECKED | {"micro_batch_size": 1, "sequence_len": 32768, "chunked_cross_entropy": True}
RANK = {"lora_r": 16, "lora_alpha": 16, "lora_target_linear": True}
GALORE = {"optimizer": "galore_adamw", "optim_args": "rank=16"}
# A step whose peak is the optimizer's, not the logits'.
STEP = FULL | CHECKED | {"micro_batch_size": 1, "sequence_len": 1024}
DPO = LORA | {"rl": "dpo", "micro_batch_size": 1, "datasets": [{"path": "x", "type": "chatml.intel"}]}
GRPO = LORA | {"rl": "grpo", "micro_batch_size": 1, "trl": {"max_completion_length": 1024}}
WHOLE = {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_target_linear": None}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MIXTURE = LORA | {
    "base_model": "Qwen/Qwen3-30B-A3B",
    "lora_target_linear": None,
    "lora_target_modules": ["q_proj", "v_proj"],
    "lora_dropout": 0.0,
}
LONG_ANSWERS = {"gradient_accumulation_steps": 64, "trl": {"max_completion_length": 16384, "use_liger_loss": True}}


def memory(options: dict[str, Any], gpus: str = "H200:1") -> MemoryEstimate:
    config = TrainingConfig.model_validate(options)
    model = find_model(config.base_model, environment={}, changes=config.overrides_of_model_config)
    hardware = cards(parse_gpus(gpus))
    return memory_estimate(model.facts, step_of(config, model.facts, hardware.place), hardware, one_length=True)


LESS = [
    (FULL, {"micro_batch_size": 2}),
    (FULL, {"sequence_len": 2048}),
    (FULL, CHECKED),
    (FULL | CHECKED, {"gradient_checkpointing": "offload"}),
    (LONG, {"activation_offloading": True}),
    (FULL, CHECKED | {"selective_checkpointing": True}),
    (FULL, {"torch_compile": True}),
    (FULL, {"chunked_cross_entropy": True}),
    (FULL, {"cut_cross_entropy": True}),
    (FULL, {"liger_fused_linear_cross_entropy": True}),
    (FULL, {"liger_cross_entropy": True}),
    (FULL, {"liger_rms_norm": True}),
    (FULL, {"liger_glu_activation": True}),
    (LONG, {"tiled_mlp": True, "tiled_mlp_num_shards": 8}),
    (STEP, {"optimizer": "adamw_torch_fused"}),
    (STEP, {"optimizer": "adamw_bnb_8bit"}),
    (STEP | {"optimizer": "adamw_bnb_8bit"}, {"optimizer": "paged_adamw_8bit"}),
    (STEP, {"optimizer": "adafactor"}),
    (STEP, {"optimizer": "lion_8bit"}),
    (STEP, {"optimizer": "lomo"}),
    (STEP, {"optimizer": "muon"}),
    (STEP, {"optimizer": "ao_adamw_4bit"}),
    (STEP, {"optimizer": "came_pytorch"}),
    (STEP | {"optimizer": "galore_adamw"}, {"optim_args": "rank=16", "optim_target_modules": "all_linear"}),
    (STEP | GALORE | {"optim_target_modules": ["self_attn"]}, {"optim_target_modules": ["self_attn", "mlp"]}),
    (STEP | {"optimizer": "sgd", "optim_args": "momentum=0.9"}, {"optim_args": None}),
    (STEP | {"grokfast_alpha": 0.9}, {"grokfast_alpha": None}),
    (STEP | {"grokfast_lamb": 2.0}, {"grokfast_lamb": None}),
    (LORA | CHECKED | {"embeddings_skip_upcast": False}, {"embeddings_skip_upcast": None}),
    (FULL, {"liger_fused_linear_cross_entropy": True, "liger_cross_entropy": False}),
    (
        FULL | {"chunked_cross_entropy": True, "chunked_cross_entropy_num_chunks": 2, "adapter": "lora"} | RANK,
        {"chunked_cross_entropy_num_chunks": 16},
    ),
    (LONG | {"tiled_mlp": True, "tiled_mlp_num_shards": 2}, {"tiled_mlp_num_shards": 16}),
    (FULL | {"bf16": False, "fp16": True}, {"bf16": True, "fp16": None}),
    (FULL | {"bf16": False, "float32": True}, {"bfloat16": True, "float32": None}),
    (FULL | {"flash_attention": None, "attn_implementation": "eager"}, {"attn_implementation": "sdpa"}),
    (FULL | {"flash_attention": None, "eager_attention": True}, {"sdp_attention": True, "eager_attention": None}),
    (FULL | {"sample_packing": False, "flash_attention": None}, {"flex_attention": True}),
    (FULL | {"overrides_of_model_config": {"num_hidden_layers": 32}}, {"overrides_of_model_config": {"num_hidden_layers": 16}}),
    (STEP | {"batch_size": 128, "micro_batch_size": 16}, {"batch_size": 16}),
    (STEP | {"val_set_size": 0.1, "eval_batch_size": 64}, {"val_set_size": 0.0}),
    (STEP | {"test_datasets": [{"path": "x", "type": "alpaca"}], "eval_batch_size": 64}, {"test_datasets": None}),
    (STEP | {"val_set_size": 0.1, "eval_batch_size": 64}, {"eval_strategy": "no"}),
    (DPO | {"rl": "orpo"}, {"rl": None}),
    (DPO | {"rl": None, "reward_model": True}, {"reward_model": None}),
    (STEP, {"spectrum_top_fraction": 0.25}),
    (STEP, {"lisa_n_layers": 4}),
    (STEP, {"unfrozen_parameters": ["model.embed_tokens.weight$", r"model.layers.[0-3]\."]}),
    (STEP | {"unfrozen_parameters": ["model.embed_tokens.weight$"]}, {"unfrozen_parameters": ["model.embed_tokens.weight$[:1000]"]}),
    (STEP | {"gradient_accumulation_steps": 8, "micro_batch_size": 16}, {"gradient_accumulation_steps": 1}),
    (FULL, {"adapter": "lora", "lora_r": 16, "lora_alpha": 16, "lora_target_linear": True}),
    (LORA, {"adapter": "qlora", "load_in_4bit": True}),
    (LORA, {"load_in_8bit": True}),
    (QLORA | {"bnb_config_kwargs": {"bnb_4bit_use_double_quant": False}}, {"bnb_config_kwargs": {"bnb_4bit_use_double_quant": True}}),
    (LORA, {"lora_r": 8}),
    (LORA, {"lora_target_linear": None, "lora_target_modules": ["q_proj", "v_proj"]}),
    (LORA, {"peft_autocast_adapter_dtype": False}),
    (LORA | {"lora_dropout": 0.1} | CHECKED | {"chunked_cross_entropy": True}, {"lora_dropout": 0.0}),
    (LORA | {"peft_use_dora": True}, {"peft_use_dora": False}),
    (LORA | {"lora_modules_to_save": ["embed_tokens", "lm_head"]}, {"lora_modules_to_save": None}),
    (FULL | {"flash_attention": None, "eager_attention": True}, {"flash_attention": True, "eager_attention": None}),
    (LORA, {"lora_rank_pattern": {"down_proj": 2}}),
    (LORA, {"lora_target_linear": None, "lora_target_modules": LINEAR, "peft_layers_to_transform": list(range(8))}),
    (LORA | {"peft_trainable_token_indices": list(range(4096))}, {"peft_trainable_token_indices": None}),
    (MIXTURE | {"lora_target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}, {"lora_target_parameters": None}),
    (LORA, {"lora_qkv_kernel": True}),
    (LORA, {"lora_o_kernel": True}),
    (LORA, {"lora_mlp_kernel": True}),
    (
        STEP | {"val_set_size": 0.1, "eval_batch_size": 64, "eval_sequence_len": 8192},
        {"eval_sequence_len": 512},
    ),
    (DPO | WHOLE, {"precompute_ref_log_probs": True}),
    (DPO | {"rl": None, "chunked_cross_entropy": True, "micro_batch_size": 2}, {"reward_model": True, "micro_batch_size": 1}),
    (FULL, {"type_of_model": "AutoModelForSequenceClassification"}),
    (FULL, {"process_reward_model": True}),
    (GRPO | LONG_ANSWERS, {"trl": {"max_completion_length": 16384, "use_liger_loss": True, "use_vllm": True, "vllm_mode": "server"}}),
    (GRPO | LONG_ANSWERS, {"gradient_accumulation_steps": 4}),
    (STEP | {"val_set_size": 0.1, "eval_batch_size": 64}, {"eval_batch_size": 1}),
    (DPO | {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_target_linear": None}, {"rl": None}),
    (DPO, {"rl": None}),
    (GRPO, {"trl": {"max_completion_length": 1024, "use_liger_loss": True}}),
    (
        GRPO | {"trl": {"use_vllm": True, "vllm_mode": "colocate"}, "vllm": {"gpu_memory_utilization": 0.4}},
        {"vllm": {"gpu_memory_utilization": 0.2}},
    ),
    (
        GRPO | {"trl": {"use_vllm": True, "vllm_mode": "colocate"}, "vllm": {"gpu_memory_utilization": 0.4}},
        {"trl": {"use_vllm": True, "vllm_mode": "colocate", "vllm_enable_sleep_mode": True}},
    ),
    (
        GRPO | {"adapter": None, "lora_r": None, "lora_alpha": None, "lora_target_linear": None, "rl_beta": 0.1},
        {"rl_beta": 0.0},
    ),
]


@pytest.mark.parametrize(("options", "change"), LESS, ids=[str(list(change)[-1]) + f"-{n}" for n, (_, change) in enumerate(LESS)])
def test_the_change_needs_less(options: dict[str, Any], change: dict[str, Any]) -> None:
    before, after = memory(options), memory(options | change)
    assert after.held.value < before.held.value


SHARDS = {"reshard_after_forward": True}
SHARDED = [
    ({}, {"fsdp_config": {"reshard_after_forward": True}}),
    ({"fsdp_config": {"reshard_after_forward": True}}, {"fsdp_config": {"offload_params": True}}),
    ({"fsdp_config": {"reshard_after_forward": False}}, {"fsdp_config": {"reshard_after_forward": True}}),
    ({}, {"deepspeed": {"zero_optimization": {"stage": 2}}}),
    ({"deepspeed": {"zero_optimization": {"stage": 2}}}, {"deepspeed": {"zero_optimization": {"stage": 3}}}),
    (
        {"deepspeed": {"zero_optimization": {"stage": 3}}},
        {"deepspeed": {"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}}},
    ),
    (
        {"deepspeed": {"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}}},
        {"deepspeed": {"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}}},
    ),
    (
        {"deepspeed": {"zero_optimization": {"stage": 3, "stage3_max_live_parameters": 6e9}}},
        {"deepspeed": {"zero_optimization": {"stage": 3, "stage3_max_live_parameters": 1e9}}},
    ),
    (
        {"deepspeed": {"zero_optimization": {"stage": 2}}},
        {"deepspeed": {"zero_optimization": {"stage": 2, "reduce_bucket_size": 1e7}}},
    ),
    ({"deepspeed": {"zero_optimization": {"stage": 2}}}, {"deepspeed": {"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}}}),
    ({"deepspeed": {"zero_optimization": {"stage": 2}}, "optimizer": "adamw_torch"}, {"optimizer": "adamw_bnb_8bit"}),
    ({"deepspeed": "deepspeed_configs/zero3.json"}, {"deepspeed": "deepspeed_configs/zero3_cpuoffload_all.json"}),
    ({"fsdp_config": SHARDS, "dp_shard_size": 2}, {"dp_shard_size": 8}),
    ({"fsdp_config": SHARDS, "dp_replicate_size": 4}, {"dp_replicate_size": 2}),
    ({}, {"tensor_parallel_size": 4}),
    ({"fsdp_config": SHARDS, "dp_shard_size": 4}, {"dp_shard_size": 4, "tensor_parallel_size": 2}),
    ({"sequence_len": 65536}, {"context_parallel_size": 8, "sequence_len": 65536}),
]


@pytest.mark.parametrize(("options", "change"), SHARDED, ids=range(len(SHARDED)))
def test_spreading_over_eight_cards_needs_less(options: dict[str, Any], change: dict[str, Any]) -> None:
    base = FULL | CHECKED | {"micro_batch_size": 1}
    assert memory(base | options | change, "H200:8").held.value < memory(base | options, "H200:8").held.value


def test_what_moves_to_host_memory_needs_less_on_one_card_too() -> None:
    options = FULL | CHECKED | {"micro_batch_size": 1}
    adam = {"deepspeed": {"zero_optimization": {"stage": 2}}}
    offloaded = {"deepspeed": {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}}
    needs = [memory(options | change).peak.breakdown_gib for change in (adam, offloaded)]
    assert needs[0]["optimizer"] == pytest.approx(12 * 8.03e9 / 2**30, rel=0.01)
    assert needs[1]["optimizer"] == 0
    assert memory(options | {"fsdp_config": {"offload_params": True}}).held.value < memory(options).held.value


@pytest.mark.parametrize(
    "options",
    [
        FULL | CHECKED | {"fsdp_config": {"reshard_after_forward": True}},
        FULL | CHECKED | {"deepspeed": {"zero_optimization": {"stage": 3}}},
    ],
)
def test_more_cards_never_need_more_each(options: dict[str, Any]) -> None:
    needs = [memory(options, f"H200:{count}").peak.tensors_gib for count in (2, 4, 8)]
    assert needs == sorted(needs, reverse=True)
    assert needs[0] > needs[-1]


# Options that work and change what a step needs. What is not named here moves nothing that the estimate counts: data, names, schedules, trackers.
MOVES = """base_model sequence_len micro_batch_size batch_size gradient_accumulation_steps gradient_checkpointing activation_offloading selective_checkpointing
    torch_compile chunked_cross_entropy chunked_cross_entropy_num_chunks cut_cross_entropy liger_fused_linear_cross_entropy liger_cross_entropy liger_rms_norm
    liger_glu_activation tiled_mlp tiled_mlp_num_shards optimizer optim_args optim_target_modules spectrum_top_fraction lisa_n_layers unfrozen_parameters
    grokfast_alpha grokfast_lamb adapter load_in_4bit load_in_8bit bnb_config_kwargs lora_r lora_dropout lora_target_linear lora_target_modules
    lora_modules_to_save peft_autocast_adapter_dtype peft_use_dora embeddings_skip_upcast bf16 fp16 bfloat16 float32 eager_attention flash_attention
    flex_attention sdp_attention attn_implementation eval_batch_size eval_strategy val_set_size test_datasets overrides_of_model_config
    lora_rank_pattern peft_layers_to_transform peft_trainable_token_indices lora_target_parameters eval_sequence_len type_of_model"""


def test_every_option_that_moves_memory_has_a_case() -> None:
    changed = {name for _, change in LESS + SHARDED for name in change}
    named = set(MOVES.split()) - {"base_model"}
    assert named <= set(table()), "an option of the list has no effect"
    assert named <= changed, f"no case changes {sorted(named - changed)}"
