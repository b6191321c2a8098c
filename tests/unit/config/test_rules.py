"""Every rule over several options is broken once, and a sound recipe breaks none."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from runtime.config.load import check_text
from runtime.config.rules import RULES
from runtime.config.rules.exclusives import GROUPS, PAIRS
from runtime.config.schema import TrainingConfig

MINIMAL: dict[str, Any] = {"base_model": "org/model", "datasets": [{"path": "rows.jsonl", "type": "alpaca"}], "learning_rate": 0.0001}
LORA: dict[str, Any] = {"adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_target_linear": True}
CHAT = {"path": "rows.jsonl", "type": "chat_template"}
EVAL = {"val_set_size": 0.1}


def _text(changes: dict[str, Any]) -> str:
    values = {**MINIMAL, **changes}
    return yaml.safe_dump({key: value for key, value in values.items() if value is not None}, sort_keys=False)


# What is changed in the minimal recipe, and the one finding it leads to. Findings about options that are not built yet are left out.
BROKEN: list[tuple[dict[str, Any], tuple[str, str]]] = [
    ({"optimizer": "adamww"}, ("unknown-name", "optimizer")),
    ({"optimizer": "adamw_hf"}, ("unknown-name", "optimizer")),
    ({"lr_scheduler": "cosin"}, ("unknown-name", "lr_scheduler")),
    ({**LORA, "adapter": "lorra"}, ("unknown-name", "adapter")),
    ({"attn_implementation": "flash_attention"}, ("unknown-name", "attn_implementation")),
    ({**LORA, "peft_init_lora_weights": "gausian"}, ("unknown-name", "peft_init_lora_weights")),
    ({"datasets": [{"path": "a", "type": "alpacca"}]}, ("unknown-name", "datasets[0].type")),
    ({"datasets": [{"path": "a", "type": "sharegpt.load_role"}]}, ("unknown-name", "datasets[0].type")),
    ({"datasets": [{"path": "a", "type": "alpaca", "ds_type": "jsn"}]}, ("unknown-name", "datasets[0].ds_type")),
    ({"chat_template": "chatm"}, ("unknown-name", "chat_template")),
    ({"datasets": [{**CHAT, "chat_template": "tokenizer_default_fallback_chatm"}]}, ("unknown-name", "datasets[0].chat_template")),
    ({"datasets": None}, ("missing", "datasets")),
    ({"datasets": [{"type": "alpaca"}]}, ("missing", "datasets[0].path")),
    ({"datasets": [{"path": "a", "type": "alpaca", "shards_idx": 1}]}, ("missing", "datasets[0].shards")),
    ({"datasets": [{"path": "a", "type": "alpaca", "shards": 2, "shards_idx": 2}]}, ("out-of-range", "datasets[0].shards_idx")),
    ({"datasets": [{"path": "a", "type": "alpaca", "shards": 2, "preprocess_shards": 2}]}, ("conflict", "datasets[0].preprocess_shards")),
    ({"datasets": [{"path": "a", "type": "alpaca", "roles_to_train": ["user"]}]}, ("conflict", "datasets[0].roles_to_train")),
    ({"datasets": [{"path": "a", "type": "alpaca", "field": "text"}]}, ("conflict", "datasets[0].field")),
    ({"datasets": [{"path": "a", "type": {"format": "no place"}}]}, ("conflict", "datasets[0].type.format")),
    ({"datasets": [{"path": "a", "type": {"no_input_format": "{input}"}}]}, ("conflict", "datasets[0].type.no_input_format")),
    ({"datasets": [{"path": "a", "type": {"system_format": "{systm}"}}]}, ("wrong-type", "datasets[0].type.system_format")),
    ({"datasets": [{"path": "a", "type": {"format": "{instruction} {"}}]}, ("wrong-type", "datasets[0].type.format")),
    ({"datasets": [{**CHAT, "roles_to_train": []}]}, ("conflict", "datasets[0].roles_to_train")),
    ({"datasets": [CHAT], "chat_template": "jinja"}, ("missing", "chat_template_jinja")),
    ({"datasets": [CHAT], "chat_template": "chatml", "chat_template_jinja": "{{ messages }}"}, ("conflict", "chat_template_jinja")),
    ({"streaming": True}, ("missing", "max_steps")),
    ({"val_set_size": 1}, ("out-of-range", "val_set_size")),
    ({"val_set_size": 1.5}, ("out-of-range", "val_set_size")),
    ({"dataset_shard_idx": 1}, ("missing", "dataset_shard_num")),
    ({"min_sample_len": 600}, ("conflict", "min_sample_len")),
    ({"sample_packing_bin_size": 300}, ("conflict", "sample_packing_bin_size")),
    ({"sample_packing": True, "pad_to_sequence_len": False}, ("conflict", "pad_to_sequence_len")),
    ({"dataloader_prefetch_factor": 2}, ("conflict", "dataloader_prefetch_factor")),
    ({"micro_batch_size": 3, "batch_size": 8}, ("conflict", "batch_size")),
    ({"warmup_steps": 10, "max_steps": 10}, ("conflict", "warmup_steps")),
    ({"eval_steps": 10}, ("conflict", "eval_steps")),
    ({"eval_strategy": "epoch"}, ("conflict", "eval_strategy")),
    ({"save_strategy": "best"}, ("conflict", "save_strategy")),
    ({"early_stopping_patience": 3}, ("conflict", "early_stopping_patience")),
    ({"evals_per_epoch": 1}, ("conflict", "evals_per_epoch")),
    ({**EVAL, "eval_strategy": "epoch", "eval_steps": 5}, ("conflict", "eval_steps")),
    ({"save_strategy": "no", "saves_per_epoch": 2}, ("conflict", "saves_per_epoch")),
    ({**EVAL, "eval_strategy": "no", "load_best_model_at_end": True}, ("conflict", "load_best_model_at_end")),
    ({**EVAL, "save_strategy": "no", "load_best_model_at_end": True}, ("conflict", "load_best_model_at_end")),
    ({"save_only_model": True, "auto_resume_from_checkpoints": True}, ("conflict", "save_only_model")),
    ({"greater_is_better": True}, ("conflict", "greater_is_better")),
    ({**LORA, "adapter": "qlora"}, ("missing", "load_in_4bit")),
    ({**LORA, "adapter": "qlora", "load_in_8bit": True}, ("conflict", "load_in_8bit")),
    ({"load_in_8bit": True}, ("missing", "adapter")),
    ({**LORA, "lora_r": None}, ("missing", "lora_r")),
    ({**LORA, "lora_alpha": None}, ("missing", "lora_alpha")),
    ({**LORA, "lora_target_linear": None}, ("missing", "lora_target_linear")),
    ({"lora_r": 8}, ("conflict", "lora_r")),
    ({"lora_model_dir": "out"}, ("conflict", "lora_model_dir")),
    ({**LORA, "peft_layers_to_transform": [1]}, ("conflict", "peft_layers_to_transform")),
    ({**LORA, "lora_target_modules": ["q_proj"]}, ("conflict", "lora_target_modules")),
    ({**LORA, "peft_layers_pattern": ["layers"]}, ("missing", "peft_layers_to_transform")),
    ({**LORA, "loraplus_lr_embedding": 1e-5}, ("conflict", "loraplus_lr_embedding")),
    ({**LORA, "relora": True}, ("missing", "jagged_restart_steps")),
    ({**LORA, "lora_dropout": 0.1, "lora_mlp_kernel": True}, ("conflict", "lora_mlp_kernel")),
    ({"unfrozen_parameters": ["("]}, ("wrong-type", "unfrozen_parameters[0]")),
    ({"learning_rate": 2.0}, ("out-of-range", "learning_rate")),
    ({"optimizer": "galore_adamw"}, ("missing", "optim_target_modules")),
    ({"optim_target_modules": ["mlp"]}, ("conflict", "optim_target_modules")),
    ({"lr_scheduler": "linear", "cosine_min_lr_ratio": 0.1}, ("conflict", "cosine_min_lr_ratio")),
    ({"cosine_constant_lr_ratio": 0.8}, ("missing", "cosine_min_lr_ratio")),
    ({"lr_scheduler": "cosine_with_min_lr"}, ("missing", "lr_scheduler_kwargs")),
    ({"lr_scheduler": "warmup_stable_decay"}, ("missing", "lr_scheduler_kwargs")),
    (
        {"lr_groups": [{"name": "a", "modules": ["x"], "lr": 0.1}, {"name": "a", "modules": ["y"], "lr": 0.1}]},
        ("conflict", "lr_groups[1].name"),
    ),
    ({"attn_implementation": "sdpa", "eager_attention": True}, ("conflict", "eager_attention")),
    ({"gradient_checkpointing_kwargs": {"use_reentrant": True}}, ("conflict", "gradient_checkpointing_kwargs")),
    ({"activation_offloading": True}, ("missing", "gradient_checkpointing")),
    ({"loss_watchdog_patience": 3}, ("conflict", "loss_watchdog_patience")),
    ({"max_memory": {0: "20GiB"}}, ("missing", "device_map")),
    ({"fp8_enable_fsdp_float8_all_gather": True}, ("missing", "fp8")),
    ({"warmup_steps": 5, "warmup_ratio": 0.1}, ("conflict", "warmup_ratio")),
    ({"bf16": True, "fp16": True}, ("conflict", "fp16")),
]

# A value of each option that the table of exclusive pairs names.
ASKED: dict[str, Any] = {
    "warmup_steps": 5,
    "warmup_ratio": 0.1,
    "eval_steps": 5,
    "evals_per_epoch": 2,
    "save_steps": 5,
    "saves_per_epoch": 2,
    "val_set_size": 0.1,
    "test_datasets": [{"path": "b.jsonl", "type": "alpaca"}],
    "embedding_lr": 0.1,
    "embedding_lr_scale": 0.5,
    "gradient_accumulation_steps": 2,
    "batch_size": 8,
    "adapter": "lora",
    "unfrozen_parameters": ["lm_head"],
    "deepspeed": "zero3",
    "fsdp": ["full_shard"],
    "fsdp_config": {"offload_params": True},
    "rl": "dpo",
    "pretraining_dataset": [{"path": "c"}],
    "jagged_restart_steps": 10,
}


@pytest.mark.parametrize(("changes", "finding"), BROKEN, ids=[f"{finding[1]}-{number}" for number, (_, finding) in enumerate(BROKEN)])
def test_a_broken_rule_is_found_once_with_a_fix(changes: dict[str, Any], finding: tuple[str, str]) -> None:
    checked = check_text(_text(changes), file="r.yml")
    problems = [problem for problem in (*checked.errors, *checked.warnings) if problem.code != "unsupported"]
    assert [(problem.code, problem.path) for problem in problems] == [finding], [str(problem) for problem in problems]
    assert problems[0].fix
    assert problems[0].message


def test_every_rule_is_broken_by_a_case() -> None:
    def breaks(rule: Any) -> bool:
        for changes, _ in BROKEN:
            checked = TrainingConfig.model_validate({key: value for key, value in {**MINIMAL, **changes}.items() if value is not None})
            if list(rule(checked)):
                return True
        return False

    assert [rule.__name__ for rule in RULES if not breaks(rule)] == []


@pytest.mark.parametrize(("first", "second", "why"), PAIRS, ids=[f"{first}-{second}" for first, second, _ in PAIRS])
def test_options_of_an_exclusive_pair_cannot_be_given_together(first: str, second: str, why: str) -> None:
    both = {**LORA, **EVAL} if "adapter" in (first, second) else dict(EVAL)
    both = {**both, first: ASKED.get(first, True), second: ASKED.get(second, True)}
    found = {(problem.code, problem.path): problem for problem in check_text(_text(both), file="r.yml").errors}
    assert ("conflict", second) in found, found
    assert why in found["conflict", second].message
    assert ("conflict", second) not in {
        (problem.code, problem.path)
        for problem in check_text(_text({**both, first: None}), file="r.yml").errors
        if first in problem.message
    }


@pytest.mark.parametrize(("names", "why"), GROUPS, ids=[names[0] for names, _ in GROUPS])
def test_one_of_a_group_is_fine_and_two_are_not(names: tuple[str, ...], why: str) -> None:
    for name in names:
        assert not [problem for problem in check_text(_text({name: True}), file="r.yml").errors if problem.code == "conflict"]
    for name in names[1:]:
        assert any(
            problem.code == "conflict" and why in problem.message
            for problem in check_text(_text({names[0]: True, name: True}), file="r.yml").errors
        )


SOUND = [
    {},
    LORA,
    {**LORA, "adapter": "qlora", "load_in_4bit": True},
    {"adapter": "lora", "lora_model_dir": "./out"},
    {"bf16": "auto", "fp16": False, "tf32": False},
    {"warmup_steps": 0, "warmup_ratio": 0.1},
    {"val_set_size": 0.0, "evals_per_epoch": 0, "test_datasets": [{"path": "b.jsonl", "type": "completion", "field": "body"}]},
    {"val_set_size": 200, "eval_steps": 0.1, "save_strategy": "best", "early_stopping_patience": 3},
    {"datasets": [{**CHAT, "roles_to_train": ["assistant"], "train_on_eos": "turn", "chat_template": "tokenizer_default_fallback_chatml"}]},
    {
        "datasets": [
            {**CHAT, "message_property_mappings": {"role": "from"}, "chat_template_jinja": "{{ messages }}", "chat_template": "jinja"}
        ]
    },
    {"datasets": [{"path": "a.jsonl", "type": {"format": "{instruction}", "no_input_format": "{instruction}"}}]},
    {"optimizer": "apollo_adamw", "optim_target_modules": "all_linear"},
    {"lr_scheduler": "cosine", "cosine_min_lr_ratio": 0.1},
    {"attn_implementation": "kernels-community/flash-attn"},
    {"sample_packing": True, "pad_to_sequence_len": True, "eval_sample_packing": False},
]


@pytest.mark.parametrize("changes", SOUND, ids=[str(number) for number in range(len(SOUND))])
def test_a_sound_recipe_has_nothing_said_about_it(changes: dict[str, Any]) -> None:
    checked = check_text(_text(changes), file="r.yml")
    assert [str(problem) for problem in (*checked.errors, *checked.warnings)] == []
    assert checked.config is not None
