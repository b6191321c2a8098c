"""Old and other names of options, read as their current ones."""

from __future__ import annotations

from types import MappingProxyType

# Old name -> current name. Reported as a warning that names the new one.
RENAMED = MappingProxyType(
    {
        "model_type": "type_of_model",
        "evaluation_strategy": "eval_strategy",
        "dpo_beta": "rl_beta",
        "noisy_embedding_alpha": "neftune_noise_alpha",
        "sequence_parallel_degree": "context_parallel_size",
        "max_packed_sequence_len": "sequence_len",
        "dataset_processes": "dataset_num_proc",
        "relora_steps": "jagged_restart_steps",
        "relora_warmup_steps": "jagged_restart_warmup_steps",
        "relora_anneal_steps": "jagged_restart_anneal_steps",
        "liger_swiglu": "liger_glu_activation",
        "eval_table_max_new_tokens": "eval_max_new_tokens",
    }
)

# (option, value that is gone) -> the value that does the same today. Reported as a warning.
VALUES_RENAMED = MappingProxyType(
    {
        ("gradient_checkpointing", "unsloth"): "offload",
        ("optimizer", "adamw_hf"): "adamw_torch",
        ("optimizer", "adamw_apex_fused"): "adamw_torch_fused",
    }
)

# The words of transformers' older FSDP setting, which is written as a list or as one text.
FSDP_WORDS = frozenset(("full_shard", "shard_grad_op", "no_shard", "hybrid_shard", "hybrid_shard_zero2", "offload", "auto_wrap"))

# Keys of old recipes that mean nothing any more, and why nothing is lost without them.
GONE = MappingProxyType(
    {
        **dict.fromkeys(
            ("gptq_groupsize", "gptq_model_v1", "gptq_disable_exllama"),
            "a quantized model says itself how it is stored, in its config.json",
        ),
        "sample_packing_seq_len_multiplier": "packed rows are `sequence_len` long",
        "landmark_attention": "its code left the public tool in 2023",
    }
)

# Another spelling in use today -> the name here. Both are right, so nothing is said.
ALIASES = MappingProxyType(
    {
        "model_config": "overrides_of_model_config",
        "model_kwargs": "overrides_of_model_kwargs",
        "model_revision": "revision_of_model",
    }
)

# The same inside one dataset.
DATASET_RENAMED = MappingProxyType({"train_on_split": "split"})

# Keys of files that start clouds in the public tool. They are no part of a recipe there either.
FOREIGN = MappingProxyType(
    dict.fromkeys(
        (
            "docker_auth",
            "image_registry",
            "provider",
            "secret",
            "disk_size",
            "dry_run",
            "env",
            "env_secret",
            "output",
            "parent_id",
            "platform",
            "preset",
            "profile",
            "show_context",
            "subnet_id",
            "volumes",
            "mount",
            "source",
        ),
        "belongs to another launcher's cloud file, not to a recipe",
    )
)

# What other training tools call an option: transformers, TRL, peft, LLaMA-Factory and torchtune. Only suggested, never read as it.
ELSEWHERE = MappingProxyType(
    {
        **dict.fromkeys(("per_device_train_batch_size", "train_batch_size", "per_device_batch_size"), "micro_batch_size"),
        **dict.fromkeys(("per_device_eval_batch_size", "eval_micro_batch_size"), "eval_batch_size"),
        **dict.fromkeys(("num_train_epochs", "epochs", "n_epochs", "train_epochs"), "num_epochs"),
        **dict.fromkeys(
            ("max_seq_length", "max_seq_len", "max_length", "seq_len", "seq_length", "cutoff_len", "block_size", "context_length"),
            "sequence_len",
        ),
        **dict.fromkeys(("lr_scheduler_type", "scheduler", "schedule"), "lr_scheduler"),
        **dict.fromkeys(("lr", "learning_rates"), "learning_rate"),
        **dict.fromkeys(("model", "model_name", "model_id", "model_path", "model_name_or_path", "base_model_name"), "base_model"),
        **dict.fromkeys(("r", "rank", "lora_rank"), "lora_r"),
        **dict.fromkeys(("alpha",), "lora_alpha"),
        **dict.fromkeys(("target_modules", "lora_targets", "lora_target", "lora_modules"), "lora_target_modules"),
        **dict.fromkeys(("modules_to_save", "additional_target"), "lora_modules_to_save"),
        **dict.fromkeys(("lora", "qlora", "finetuning_type", "peft_type", "use_lora", "use_peft"), "adapter"),
        "dropout": "lora_dropout",
        "use_dora": "peft_use_dora",
        "use_rslora": "peft_use_rslora",
        "init_lora_weights": "peft_init_lora_weights",
        **dict.fromkeys(("packing", "pack", "multipack"), "sample_packing"),
        **dict.fromkeys(("flash_attn", "use_flash_attention", "use_flash_attention_2", "use_flash_attn"), "flash_attention"),
        **dict.fromkeys(("attention", "attn_impl"), "attn_implementation"),
        **dict.fromkeys(("load_4bit", "quantization_bit", "bits", "use_4bit"), "load_in_4bit"),
        **dict.fromkeys(("load_8bit", "use_8bit"), "load_in_8bit"),
        "optim": "optimizer",
        **dict.fromkeys(("warmup", "num_warmup_steps"), "warmup_steps"),
        "batch": "batch_size",
        **dict.fromkeys(("gradient_accumulation", "grad_accum", "grad_accum_steps", "accumulation_steps"), "gradient_accumulation_steps"),
        **dict.fromkeys(("grad_clip", "gradient_clipping", "clip_grad_norm", "max_norm"), "max_grad_norm"),
        **dict.fromkeys(("template", "prompt_template"), "chat_template"),
        "system_prompt": "default_system_message",
        **dict.fromkeys(("tokenizer", "tokenizer_name", "tokenizer_name_or_path", "tokenizer_path"), "tokenizer_config"),
        **dict.fromkeys(("output", "output_path", "save_dir"), "output_dir"),
        **dict.fromkeys(("save_limit", "max_checkpoints", "keep_checkpoints"), "save_total_limit"),
        **dict.fromkeys(("early_stopping", "patience"), "early_stopping_patience"),
        **dict.fromkeys(("neftune_alpha", "neftune"), "neftune_noise_alpha"),
        **dict.fromkeys(("resume", "resume_from"), "resume_from_checkpoint"),
        **dict.fromkeys(("save_every", "save_freq", "save_interval"), "save_steps"),
        **dict.fromkeys(("eval_every", "eval_freq", "eval_interval"), "eval_steps"),
        **dict.fromkeys(("log_every", "log_freq", "log_interval"), "logging_steps"),
        **dict.fromkeys(("push_to_hub", "hub_model", "hub_repo"), "hub_model_id"),
        **dict.fromkeys(("torch_dtype", "dtype", "precision", "mixed_precision"), "bf16"),
        "fp32": "float32",
        "beta": "rl_beta",
        "beta1": "adam_beta1",
        "beta2": "adam_beta2",
        **dict.fromkeys(("adam_eps", "eps", "epsilon"), "adam_epsilon"),
        "wd": "weight_decay",
        **dict.fromkeys(("dataset_num_workers", "preprocessing_num_workers", "num_proc"), "dataset_num_proc"),
        "num_workers": "dataloader_num_workers",
        **dict.fromkeys(("wandb", "report_to"), "use_wandb"),
        "run_name": "wandb_name",
        **dict.fromkeys(("data", "dataset_name", "dataset_path", "train_file", "train_dataset", "train_data", "data_path"), "datasets"),
        **dict.fromkeys(("eval_dataset", "eval_datasets", "eval_data", "validation_file"), "test_datasets"),
        **dict.fromkeys(("val_size", "test_size", "eval_split", "validation_split", "validation_size", "eval_size"), "val_set_size"),
        "use_gradient_checkpointing": "gradient_checkpointing",
        **dict.fromkeys(("deepspeed_config", "ds_config"), "deepspeed"),
        "use_cce": "cut_cross_entropy",
        **dict.fromkeys(("train_on_prompt", "train_on_prompts"), "train_on_inputs"),
    }
)
