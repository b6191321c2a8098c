"""Fragments the way people write them: valid, whatever their style. Each is read beside a model, a dataset and a learning rate unless it has its own."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from runtime.config.load import check_text

BESIDE = {"base_model": "org/model", "datasets": [{"path": "org/rows", "type": "alpaca"}], "learning_rate": 1e-5}
LORA = "adapter: lora\nlora_r: 16\nlora_alpha: 32\n"

# What it is: the fragment, options that must come out with these values, and the warnings it may raise.
FRAGMENTS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "blank switches": (
        "load_in_8bit: false\nload_in_4bit: false\nstrict: false\nfp16:\ntf32: false\nbf16: auto\ngroup_by_length: false\n",
        {"load_in_8bit": False, "bf16": "auto"},
        set(),
    ),
    "blank trackers": (
        "wandb_project:\nwandb_entity:\nwandb_watch:\nwandb_name:\nwandb_log_model:\nwandb_run_id:\n",
        {"use_wandb": None, "wandb_project": None},
        set(),
    ),
    "blank distribution": ("fsdp:\nfsdp_config:\ndeepspeed:\nlocal_rank:\nddp_timeout:\n", {"fsdp": None, "deepspeed": None}, set()),
    "empty list and mapping of fsdp": ("fsdp: []\nfsdp_config: {}\n", {}, set()),
    "blank attention": (
        "xformers_attention:\nflash_attention: true\ns2_attention:\nsdp_attention:\n",
        {"flash_attention": True, "xformers_attention": None},
        set(),
    ),
    "attention off": ("xformers_attention: false\nflash_attention: false\nsage_attention: false\n", {"flash_attention": False}, set()),
    "blank stopping and resuming": (
        "early_stopping_patience:\nresume_from_checkpoint:\nauto_resume_from_checkpoints: false\nval_set_size: 0\n",
        {"early_stopping_patience": None},
        set(),
    ),
    "no validation": ("val_set_size: 0\nevals_per_epoch:\neval_sample_packing: false\n", {"val_set_size": 0}, set()),
    "validation of zero as a fraction": ("val_set_size: 0.0\nevals_per_epoch: 1\n", {}, {"evals_per_epoch"}),
    "validation as a number of rows": (
        "val_set_size: 200\nevals_per_epoch: 4\neval_max_new_tokens: 128\neval_table_size:\n",
        {},
        set(),
    ),
    "old name of the model class": (
        "model_type: LlamaForCausalLM\ntokenizer_type: LlamaTokenizer\n",
        {"type_of_model": "LlamaForCausalLM"},
        {"model_type"},
    ),
    "current name of the model class": (
        "type_of_model: AutoModelForCausalLM\ntokenizer_type: AutoTokenizer\ntrust_remote_code: true\n",
        {},
        set(),
    ),
    "datasets in one line": ("datasets: [{path: x, type: alpaca}]\n", {}, set()),
    "datasets with a split to train on": ("datasets:\n  - path: x\n    type: alpaca\n    train_on_split: train\n", {}, {"train_on_split"}),
    "a slice of a split": ("datasets:\n  - path: x\n    type: alpaca\n    split: train[:5%]\n", {}, set()),
    "a list of files": (
        "datasets:\n- path: json\n  data_files: [a.jsonl, b.jsonl]\n  ds_type: json\n  type: completion\n  field: body\n",
        {},
        set(),
    ),
    "one file": ("datasets:\n- path: data/\n  data_files: a.jsonl\n  type: alpaca\n", {}, set()),
    "several datasets of different types": (
        "datasets:\n  - path: a/b\n    type: alpaca\n    shards: 10\n  - path: c.jsonl\n    ds_type: json\n    type: input_output\n"
        "  - path: e/f\n    name: en\n    type: completion\n",
        {},
        set(),
    ),
    "conversations of the old layout": (
        "chat_template: chatml\ndatasets:\n  - path: x\n    type: chat_template\n    field_messages: conversations\n"
        "    message_property_mappings:\n      role: from\n      content: value\n    roles:\n      user: [human, user]\n      assistant: [gpt, assistant]\n",
        {"chat_template": "chatml"},
        set(),
    ),
    "message fields by their own names": (
        "datasets:\n  - path: x\n    type: chat_template\n    chat_template: tokenizer_default\n    field_messages: messages\n"
        "    message_field_role: role\n    message_field_content: content\n    roles_to_train: ['assistant']\n    train_on_eos: turn\n",
        {},
        set(),
    ),
    "a fallback template": ("chat_template: tokenizer_default_fallback_chatml\ndatasets: [{path: x, type: chat_template}]\n", {}, set()),
    "a template in the recipe": (
        "chat_template: jinja\nchat_template_jinja: |\n  {% for m in messages %}{{ m['content'] }}{% endfor %}\ndatasets:\n  - {path: x, type: chat_template}\n",
        {"chat_template": "jinja"},
        set(),
    ),
    "a prompt of one's own": (
        "datasets:\n  - path: x\n    type:\n      system_prompt: ''\n      field_system: system\n      field_instruction: q\n      field_input: c\n"
        "      field_output: a\n      format: |-\n        [INST] {instruction} {input} [/INST]\n      no_input_format: '[INST] {instruction} [/INST]'\n",
        {},
        set(),
    ),
    "a pad token": ('special_tokens:\n  pad_token: "<|end_of_text|>"\n', {}, set()),
    "all special tokens": ('special_tokens:\n  bos_token: "<s>"\n  eos_token: "</s>"\n  unk_token: "<unk>"\n', {}, set()),
    "an unquoted special token": ("special_tokens:\n   pad_token: <|finetune_right_pad_id|>\n   eos_token: <|eot_id|>\n", {}, set()),
    "blank special tokens": ("special_tokens:\ntokens:\n", {"special_tokens": None, "tokens": None}, set()),
    "tokens added": (
        LORA
        + "lora_target_linear: true\ntokens:\n  - '<|im_start|>'\n  - '<|im_end|>'\nlora_modules_to_save:\n  - embed_tokens\n  - lm_head\n",
        {"tokens": ["<|im_start|>", "<|im_end|>"]},
        set(),
    ),
    "targets as a list in the indentation of its key": (
        LORA + "lora_target_modules:\n- q_proj\n- v_proj\n- k_proj\n- o_proj\nlora_target_linear:\nlora_fan_in_fan_out:\n",
        {"lora_target_modules": ["q_proj", "v_proj", "k_proj", "o_proj"]},
        set(),
    ),
    "targets listed and linear off": (
        LORA + "lora_target_modules: [q_proj, v_proj]\nlora_target_linear: false\nlora_dropout: 0.05\n",
        {},
        set(),
    ),
    "targets listed and every linear layer": (
        LORA + "lora_target_linear: true\nlora_target_modules:\n  - gate_proj\n  - down_proj\n  - up_proj\n  - q_proj\n",
        {},
        {"lora_target_modules"},
    ),
    "targets as an empty block": (LORA + "lora_target_modules:\nlora_target_linear: true\n", {}, set()),
    "targets as a pattern": (LORA + "lora_target_modules: 'model.layers.[\\d]+.(mlp|self_attn).(up|down|gate|q|k|v|o)_proj'\n", {}, set()),
    "an adapter and no directory": (
        "adapter: qlora\nload_in_4bit: true\nlora_model_dir:\nlora_r: 32\nlora_alpha: 16\nlora_target_linear: true\n",
        {},
        set(),
    ),
    "no adapter, its options blank": (
        "adapter:\nlora_model_dir:\nlora_r:\nlora_alpha:\nlora_dropout:\nlora_target_linear:\nlora_fan_in_fan_out:\n",
        {},
        set(),
    ),
    "no adapter, its options left from before": (
        "lora_r: 8\nlora_alpha: 16\nlora_dropout: 0.05\n",
        {},
        {"lora_r"},
    ),
    "a learning rate as text": ("learning_rate: '2e-4'\n", {"learning_rate": 2e-4}, set()),
    "a learning rate without a dot": ("learning_rate: 2e-5\n", {"learning_rate": 2e-5}, set()),
    "warmup as a share": ("warmup_ratio: 0.05\nwarmup_steps:\n", {"warmup_ratio": 0.05}, set()),
    "warmup in steps": (
        "warmup_steps: 10\nlr_scheduler: cosine\noptimizer: adamw_bnb_8bit\nweight_decay: 0.0\n",
        {"warmup_steps": 10},
        set(),
    ),
    "saving by epoch": ("eval_strategy: epoch\nsave_strategy: epoch\nval_set_size: 0.1\nsave_steps:\neval_steps:\n", {}, set()),
    "saving never, old name": (
        "evaluation_strategy: 'no'\nsave_strategy: no\nval_set_size: 0.1\n",
        {"eval_strategy": "no", "save_strategy": "no"},
        {"evaluation_strategy"},
    ),
    "numbers of beats": ("saves_per_epoch: 1\nevals_per_epoch: 4\nlogging_steps: 1\nval_set_size: 0.05\ndebug:\n", {}, set()),
    "checkpointing as words": (
        "gradient_checkpointing: true\ngradient_checkpointing_kwargs:\n  use_reentrant: false\nsave_safetensors: true\n",
        {"gradient_checkpointing_kwargs": {"use_reentrant": False}},
        set(),
    ),
    "packing": (
        "sequence_len: 4096\nsample_packing: true\npad_to_sequence_len: true\neval_sample_packing: False\n",
        {"sample_packing": True},
        set(),
    ),
    "rows prepared before": (
        "dataset_prepared_path:\noutput_dir: ./outputs/out\nshuffle_merged_datasets: yes\n",
        {"shuffle_merged_datasets": True},
        set(),
    ),
    "optimizer settings as text": (
        "optim_args: 'momentum=0.9'\noptimizer: sgd\nmax_grad_norm: 1\nadam_beta2: 0.95\nadam_epsilon: 0.00001\n",
        {"max_grad_norm": 1.0},
        {"adam_beta2", "adam_epsilon"},
    ),
    "precision written out": ("bf16: true\nfp16: false\ntf32: true\nbfloat16:\n", {"bf16": True}, set()),
    "plugins blank": ("plugins:\nliger_rope:\nliger_rms_norm: false\nhub_model_id:\nhub_strategy:\npush_dataset_to_hub:\n", {}, set()),
    "strides of layers": (
        "unfrozen_parameters:\n  - ^lm_head.weight$\n  - ^model.embed_tokens.weight$\n  - model.layers.2[0-9]+.mlp\n",
        {},
        set(),
    ),
    "kernels of plugins": (
        "plugins:\n  - axolotl.integrations.liger.LigerPlugin\nliger_rope: true\nliger_rms_norm: true\nliger_glu_activation: true\n"
        "liger_fused_linear_cross_entropy: true\n",
        {"liger_rms_norm": True},
        set(),
    ),
    "a plugin that needs no option": (
        "plugins:\n- axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin\nbf16: true\n",
        {"cut_cross_entropy": True},
        set(),
    ),
    "plugins as an empty list": ("plugins: []\nunfrozen_parameters: []\ntokens: []\nspecial_tokens: {}\n", {}, set()),
    "rope scaling at its old place": (
        "rope_scaling:\n  type: linear\n  factor: 2.0\n",
        {"overrides_of_model_config": {"rope_scaling": {"type": "linear", "factor": 2.0}}},
        {"rope_scaling"},
    ),
    "model overrides by their short name": (
        "model_config:\n  output_router_logits: true\n",
        {"overrides_of_model_config": {"output_router_logits": True}},
        set(),
    ),
    "the kind of model said besides": (
        "is_llama_derived_model: true\nbase_model_config: org/model\n",
        {"base_model_config": "org/model"},
        set(),
    ),
    "whole numbers with a point, and in quotes": (
        "micro_batch_size: 2.0\ngradient_accumulation_steps: '4'\nlogging_steps: 1.0\nnum_epochs: 3\n",
        {"micro_batch_size": 2, "gradient_accumulation_steps": 4, "num_epochs": 3.0},
        set(),
    ),
    "restarts of the schedule": ("lr_scheduler: cosine_with_restarts\nlr_scheduler_kwargs:\n  num_cycles: 2\n", {}, set()),
    "steps as shares of the run": (
        "save_steps: 0.25\neval_steps: 0.05\nval_set_size: 0.1\neval_table_size: 0\n",
        {"save_steps": 0.25},
        set(),
    ),
    "a document start and end": ("---\nseed: 42\n...\n", {"seed": 42}, set()),
    "numbers with underscores and exponents": ("sequence_len: 8_192\nmax_steps: 1e3\n", {"sequence_len": 8192, "max_steps": 1000}, set()),
    "an anchor used again": ("datasets:\n  - &rows {path: x, type: alpaca}\ntest_datasets:\n  - *rows\n", {}, set()),
    "Windows line ends": ("seed: 7\r\nbf16: auto\r\n# end\r\n", {"seed": 7}, set()),
}


@pytest.mark.parametrize("what", FRAGMENTS)
def test_a_valid_fragment_is_accepted(what: str) -> None:
    text, expected, warned = FRAGMENTS[what]
    own = yaml.safe_load(text) or {}
    # Read from one text, as a recipe is: what the fragment does not say comes before it, or after its document start.
    beside = yaml.safe_dump({key: value for key, value in BESIDE.items() if key not in own})
    start = "---\n" if text.startswith("---") else ""
    whole = start + beside + text.removeprefix(start)
    checked = check_text(whole, file="wild.yml")
    assert checked.errors == ()
    assert checked.config is not None
    assert {key: getattr(checked.config, key) for key in expected} == expected
    assert {problem.path.rpartition(".")[2] for problem in checked.warnings} == warned
