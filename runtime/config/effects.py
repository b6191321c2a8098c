"""Where each option has its effect. An option that has none yet is refused when it is set, never passed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from runtime.config.document import Path, dotted
from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig
from runtime.config.shape import generic

Kind = Literal["implemented", "passed", "refused", "unsupported", "internal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What happens with an option. `where` is the module that acts on it, the argument it becomes, or the reason it is refused or needs no effect."""

    kind: Kind
    where: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "implemented":
                return f"implemented in {self.where}"
            case "passed":
                return f"passed to {self.where}"
            case "refused":
                return f"refused: {self.where}"
            case "internal":
                return self.where
            case "unsupported":
                return "known, not supported here yet"


# To support one more option, add its name to the line of the module that acts on it. A name with `[].` or `.` is an option of a section.
_IMPLEMENTED = {
    "runtime.model.load": """base_model base_model_config type_of_model cls_model_config revision_of_model overrides_of_model_config overrides_of_model_kwargs
        trust_remote_code reinit_weights resize_token_embeddings_to_32x mean_resizing_embeddings shrink_embeddings""",
    "runtime.model.placement": "device_map max_memory gpu_memory_limit",
    "runtime.model.experts": "experts_implementation",
    "runtime.model.kernels": "use_kernels",
    "runtime.model.untrained": "fix_untrained_tokens",
    "runtime.model.norms": "fp32_norms fp32_norm_classes",
    "runtime.model.tiled_mlp": "tiled_mlp tiled_mlp_num_shards",
    "runtime.model.tokenizer": """chat_template chat_template_jinja default_system_message tokenizer_config tokenizer_type tokenizer_use_fast tokenizer_legacy special_tokens special_tokens.bos_token special_tokens.eos_token
        special_tokens.pad_token special_tokens.unk_token special_tokens.additional_special_tokens tokens added_tokens_overrides""",
    "runtime.model.adapter": """adapter lora_model_dir embeddings_skip_upcast peft_autocast_adapter_dtype lora_fp32_gradients""",
    "runtime.model.quantization": "load_in_4bit load_in_8bit bnb_config_kwargs model_quantization_config model_quantization_config_kwargs",
    "runtime.model.precision": "bfloat16 float16 float32",
    "runtime.model.attention": "attn_implementation flash_attention sdp_attention flex_attention eager_attention flex_attn_compile_kwargs",
    "runtime.data.strategies": """datasets[].chat_template datasets[].chat_template_jinja datasets[].field chat_template_kwargs eot_tokens train_on_inputs datasets[].type datasets[].field_messages datasets[].field_tools
        datasets[].logprobs_field datasets[].temperature
        datasets[].field_system datasets[].field_thinking datasets[].template_thinking_key datasets[].split_thinking datasets[].message_field_role
        datasets[].message_field_content datasets[].message_property_mappings datasets[].message_field_training
        datasets[].message_field_training_detail datasets[].roles datasets[].roles_to_train datasets[].train_on_eos datasets[].train_on_eot
        datasets[].drop_system_message""",
    "runtime.data.instruction": """datasets[].type.system_prompt datasets[].type.system_format datasets[].type.field_system datasets[].type.field_instruction
        datasets[].type.field_input datasets[].type.field_output datasets[].type.format datasets[].type.no_input_format""",
    "runtime.data.sources": "datasets[].path datasets[].name datasets[].split datasets[].ds_type datasets[].data_files datasets[].revision",
    "runtime.data.prepare": """datasets datasets[].shards datasets[].shards_idx datasets[].weight test_datasets val_set_size shuffle_merged_datasets
        shuffle_before_merging_datasets dataset_prepared_path dataset_num_proc dataset_exact_deduplication dataset_keep_in_memory dataset_shard_num
        dataset_shard_idx num_dataset_shards_to_save sequence_len eval_sequence_len excess_length_strategy min_sample_len sample_packing
        sample_packing_group_size sample_packing_bin_size sample_packing_sequentially eval_sample_packing""",
    "runtime.data.collate": "pad_to_sequence_len pad_to_multiple_of batch_flattening multipack_real_batches fa_varlen_kwargs_in_collator",
    "runtime.data.preprocess": "debug",
    "runtime.training.activations": """activation_offloading selective_checkpointing selective_checkpointing.save
        selective_checkpointing.save_sliding_window""",
    "runtime.training.compiling": "torch_compile_regional torch_compile_options",
    "runtime.training.cadence": """batch_size gradient_accumulation_steps micro_batch_size num_epochs max_steps eval_steps evals_per_epoch eval_strategy save_steps
        saves_per_epoch save_strategy save_first_step load_best_model_at_end logging_steps""",
    "runtime.training.arguments": "save_only_model curriculum_sampling group_by_length",
    "runtime.training.sharding.settings": """fsdp_config fsdp_config.auto_wrap_policy fsdp_config.transformer_layer_cls_to_wrap
        fsdp_config.cpu_ram_efficient_loading fsdp_config.cpu_offload_pin_memory fsdp_config.mixed_precision_policy dp_shard_size dp_replicate_size""",
    "runtime.config.wishes": """fsdp fsdp_config.reshard_after_forward fsdp_config.sharding_strategy fsdp_config.offload_params
        fsdp_config.activation_checkpointing fsdp_config.state_dict_type""",
    "runtime.config.rules.sharding": "fsdp_version fsdp_config.fsdp_version fsdp_config.min_num_params",
    "runtime.training.optimizer": "embedding_lr embedding_lr_scale loraplus_lr_ratio loraplus_lr_embedding lr_groups lr_groups[].name lr_groups[].modules lr_groups[].lr",
    "runtime.training.optimizers.named": "adam_beta3 adam_epsilon2",
    "runtime.training.schedule": """cosine_constant_lr_ratio lr_quadratic_warmup lr_div_factor jagged_restart_steps jagged_restart_warmup_steps
        jagged_restart_anneal_steps""",
    "runtime.training.relora": "relora relora_prune_ratio relora_prune_method relora_cpu_offload",
    "runtime.training.assemble": "unfrozen_parameters loss_watchdog_threshold loss_watchdog_patience gc_steps gc_collect_steps early_stopping_patience",
    "runtime.training.losses.choice": """use_dft use_eaft eaft_alpha eaft_k chunked_cross_entropy chunked_cross_entropy_num_chunks cut_cross_entropy
        kd_trainer kd_alpha kd_ce_alpha kd_beta kd_normalize_topk kd_temperature kd_temperature_min""",
    "runtime.training.losses.server": "kd_online_server_base_url kd_online_server kd_online_timeout kd_online_topk",
    "runtime.training.losses.cut": "cut_cross_entropy_accum_c_fp32 cut_cross_entropy_c_grad_chunk_size",
    "runtime.training.train": "output_dir save_total_limit",
    "runtime.training.probe": "auto_find_batch_size",
    "runtime.training.resume": "resume_from_checkpoint auto_resume_from_checkpoints",
    "runtime.training.targeting": "spectrum_top_fraction spectrum_model_name",
    "runtime.training.lisa": "lisa_n_layers lisa_step_interval lisa_layers_attribute",
    "runtime.training.ondemand": "dynamic_checkpoint dynamic_checkpoint.enabled dynamic_checkpoint.check_interval dynamic_checkpoint.trigger_file_path",
    "runtime.training.sampling": """generate_samples num_generation_samples generation_max_new_tokens generation_temperature generation_top_p generation_top_k
        generation_prompt_ratio generation_do_sample eval_table_size eval_max_new_tokens do_causal_lm_eval""",
    "runtime.training.scores": "eval_causal_lm_metrics",
    "runtime.training.profiling": "profiler_steps profiler_steps_start sync_profiler_steps sync_profiler_start_step",
    "runtime.training.telemetry": "use_otel_metrics otel_metrics_host otel_metrics_port",
    "runtime.training.trainer_class": "trainer_cls",
    "runtime.training.aftermath": "lm_eval_post_train",
    "runtime.training.comet": "comet_experiment_config",
    "runtime.publish.benchmark": "lm_eval_tasks lm_eval_batch_size lm_eval_model",
    "runtime.publish.merge": "lora_on_cpu",
    "runtime.publish.hub.repository": "hub_model_id hub_revision push_dataset_to_hub",
    "runtime.training.pushes": "hub_strategy",
    "runtime.model.liger": """liger_rope liger_rms_norm liger_rms_norm_gated liger_layer_norm liger_glu_activation liger_cross_entropy
        liger_fused_linear_cross_entropy liger_use_token_scaling liger_kernel_impl""",
    "runtime.training.swanlab": """use_swanlab swanlab_project swanlab_experiment_name swanlab_description swanlab_workspace swanlab_mode
        swanlab_api_host swanlab_web_host""",
    "runtime.training.grokfast": "grokfast_alpha grokfast_lamb",
    "runtime.config": "strict launch",
    "runtime.config.extension": "plugins",
}

_PASSED = {
    "LoraConfig": {
        "lora_r": "r",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "lora_target_modules": "target_modules",
        "lora_target_linear": "target_modules",
        "lora_target_parameters": "target_parameters",
        "lora_modules_to_save": "modules_to_save",
        "lora_fan_in_fan_out": "fan_in_fan_out",
        "lora_rank_pattern": "rank_pattern",
        "lora_alpha_pattern": "alpha_pattern",
        "peft_use_dora": "use_dora",
        "peft_use_rslora": "use_rslora",
        "peft_init_lora_weights": "init_lora_weights",
        "peft_layers_to_transform": "layers_to_transform",
        "peft_layers_pattern": "layers_pattern",
        "peft_layer_replication": "layer_replication",
        "peft_trainable_token_indices": "trainable_token_indices",
        "peft_ensure_weight_tying": "ensure_weight_tying",
    },
    "TrainingArguments": {
        "adam_beta1": "adam_beta1",
        "adam_beta2": "adam_beta2",
        "adam_epsilon": "adam_epsilon",
        "bf16": "bf16",
        "cosine_min_lr_ratio": "lr_scheduler_kwargs",
        "dataloader_drop_last": "dataloader_drop_last",
        "dataloader_num_workers": "dataloader_num_workers",
        "dataloader_pin_memory": "dataloader_pin_memory",
        "dataloader_prefetch_factor": "dataloader_prefetch_factor",
        "accelerator_config": "accelerator_config",
        "ddp_broadcast_buffers": "ddp_broadcast_buffers",
        "ddp_bucket_cap_mb": "ddp_bucket_cap_mb",
        "ddp_find_unused_parameters": "ddp_find_unused_parameters",
        "ddp_timeout": "ddp_timeout",
        "eval_batch_size": "per_device_eval_batch_size",
        "eval_on_start": "eval_on_start",
        "fp16": "fp16",
        "full_determinism": "full_determinism",
        "gradient_checkpointing": "activation_checkpointing",
        "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
        "greater_is_better": "greater_is_better",
        "learning_rate": "learning_rate",
        "logging_nan_inf_filter": "logging_nan_inf_filter",
        "lr_scheduler": "lr_scheduler_type",
        "lr_scheduler_kwargs": "lr_scheduler_kwargs",
        "max_grad_norm": "max_grad_norm",
        "metric_for_best_model": "metric_for_best_model",
        "neftune_noise_alpha": "neftune_noise_alpha",
        "optim_args": "optim_args",
        "optim_target_modules": "optim_target_modules",
        "optimizer": "optim",
        "remove_unused_columns": "remove_unused_columns",
        "seed": "seed",
        "tf32": "tf32",
        "torch_compile": "torch_compile",
        "torch_compile_backend": "torch_compile_backend",
        "torch_compile_mode": "torch_compile_mode",
        "torch_empty_cache_steps": "torch_empty_cache_steps",
        "trackio_project_name": "project",
        "trackio_run_name": "run_name",
        "trackio_space_id": "trackio_space_id",
        "mlflow_run_name": "run_name",
        "wandb_name": "run_name",
        "use_comet": "report_to",
        "use_mlflow": "report_to",
        "use_tensorboard": "report_to",
        "use_trackio": "report_to",
        "use_wandb": "report_to",
        "warmup_ratio": "warmup_steps",
        "warmup_steps": "warmup_steps",
        "weight_decay": "weight_decay",
    },
    "the environment of the tracker": {
        "wandb_project": "WANDB_PROJECT",
        "wandb_entity": "WANDB_ENTITY",
        "wandb_mode": "WANDB_MODE",
        "wandb_run_id": "WANDB_RUN_ID",
        "wandb_watch": "WANDB_WATCH",
        "wandb_log_model": "WANDB_LOG_MODEL",
        "mlflow_tracking_uri": "MLFLOW_TRACKING_URI",
        "mlflow_experiment_name": "MLFLOW_EXPERIMENT_NAME",
        "hf_mlflow_log_artifacts": "HF_MLFLOW_LOG_ARTIFACTS",
        "comet_workspace": "COMET_WORKSPACE",
        "comet_project_name": "COMET_PROJECT_NAME",
        "comet_experiment_key": "COMET_EXPERIMENT_KEY",
        "comet_mode": "COMET_START_MODE",
        "comet_online": "COMET_START_ONLINE",
    },
}

# Read and without effect on purpose; the reason is what the user is told.
_INTERNAL = {
    "axolotl_config_path": "a note of another tool about its own run; nothing here depends on it",
    "total_num_tokens": "measured anew in every preparation",
    "total_supervised_tokens": "measured anew in every preparation",
    "sample_packing_eff_est": "measured anew in every preparation",
    "is_falcon_derived_model": "found from the model's config.json",
    "is_llama_derived_model": "found from the model's config.json",
    "is_mistral_derived_model": "found from the model's config.json",
    "is_qwen_derived_model": "found from the model's config.json",
    "is_preprocess": "decided by the command that runs",
    "merge_lora": "decided by the command that runs",
    "device": "set for each process by the launcher of processes; `device_map` places layers",
    "base_model_ignore_patterns": "of a repository, only the files that are loaded are fetched",
    "sample_packing_mp_start_method": "packing takes one process: its work grows with the number of rows alone",
    "datasets[].preprocess_shards": "rows are always prepared in small batches that go to disk",
    "tiled_mlp_use_original_mlp": "every piece is computed by the model's own MLP; false is refused",
    "local_rank": "set for each process by the launcher of processes",
    "world_size": "set for each process by the launcher of processes",
    "ddp": "decided by the number of processes",
    "low_cpu_mem_usage": "transformers always loads this way; false is refused",
    "save_safetensors": "every file is safetensors; false is refused",
    "tokenizer_save_jinja_files": "the template is always saved as a file of its own",
    "include_tkps": "the events of a run hold tokens per second for every step",
    "include_tokens_per_second": "the events of a run hold tokens per second for every step",
    "hf_use_auth_token": "the Hub token is used wherever one is configured",
    "experimental_skip_move_to_device": "decided by how the model is sharded",
    "merge_method": "an adapter is always merged with the whole model in memory, as `legacy` asks",
    "rope_scaling": "read as overrides_of_model_config.rope_scaling",
    "fsdp_final_state_dict_type": "the final model is always whole, in files that any tool reads",
    "fsdp_config.final_state_dict_type": "the final model is always whole, in files that any tool reads",
    "fsdp_config.sync_module_states": "every process loads the same weights, or is sent them under `cpu_ram_efficient_loading`",
    "fsdp_config.use_orig_params": "FSDP2 always keeps parameters apart",
    "fsdp_config.limit_all_gathers": "FSDP2 never gathers further ahead than it has to",
    "fsdp_config.backward_prefetch": "FSDP2 gathers a layer while the one before it computes",
    "fsdp_config.forward_prefetch": "FSDP2 gathers a layer while the one before it computes",
}

_REFUSED = {
    "comet_api_key": "a secret has no place in a recipe; set COMET_API_KEY in the environment and name it under `launch.secrets`",
    "swanlab_api_key": "a secret has no place in a recipe; set SWANLAB_API_KEY in the environment and name it under `launch.secrets`",
    "swanlab_lark_secret": "a secret has no place in a recipe; set it in the environment and name it under `launch.secrets`",
    "hatchery.api_key": "a secret has no place in a recipe; set it in the environment and name it under `launch.secrets`",
    "datasets[].trust_remote_code": "the datasets package no longer runs code that comes with data; use the repository's files",
    "xformers_attention": "its kernels are part of PyTorch's own fused attention; write `sdp_attention: true`",
    "s2_attention": "LongLoRA's attention replaced a class that transformers no longer has; write `flash_attention: true`, which takes long rows whole",
    "flash_attn_cross_entropy": "it patched a loss that transformers no longer has; write `chunked_cross_entropy: true`",
    "flash_attn_rms_norm": "it patched layers of older models; write `liger_rms_norm: true`, or `torch_compile: true`",
    "flash_attn_fuse_mlp": "it replaced the MLP of older Llama code; write `liger_glu_activation: true`, or `torch_compile: true`",
    "flash_attn_fuse_qkv": "it replaced attention classes that transformers no longer has; write `torch_compile: true`",
    "unsloth_cross_entropy_loss": "it comes with Unsloth, which replaces transformers' models by its own; write `chunked_cross_entropy: true`",
    "unsloth_rms_norm": "it comes with Unsloth, which replaces transformers' models by its own; write `liger_rms_norm: true`",
    "unsloth_rope": "it comes with Unsloth, which replaces transformers' models by its own; write `liger_rope: true`",
    "unsloth_lora_mlp": "it comes with Unsloth, which replaces transformers' models by its own; `torch_compile: true` fuses what it can",
    "unsloth_lora_qkv": "it comes with Unsloth, which replaces transformers' models by its own; `torch_compile: true` fuses what it can",
    "unsloth_lora_o": "it comes with Unsloth, which replaces transformers' models by its own; `torch_compile: true` fuses what it can",
    "tokenizer_use_mistral_common": "mistral-common has no chat templates and no places of tokens in the text, which deciding what is trained needs; "
    "leave it out, and the repository's tokenizer.json is used",
    "torchdistx_path": "torchdistX ended in 2022 and works with no torch of today; `bfloat16: true` with `optimizer: adamw_torch_8bit` needs as little memory",
    "use_ray": "processes are started here by `launcher up` and torchrun; say how many GPUs and nodes under `launch`",
    "ray_run_name": "processes are started here by `launcher up` and torchrun; name a run with `launcher up --name`",
    "ray_num_workers": "processes are started here by `launcher up` and torchrun; say how many GPUs and nodes under `launch`",
    "resources_per_worker": "processes are started here by `launcher up` and torchrun; say how many GPUs and nodes under `launch`",
    "flash_optimum": "BetterTransformer was removed from transformers; write `sdp_attention: true`",
    "datasets[].conversation": "the `sharegpt` type is gone; write `type: chat_template` with `message_property_mappings`",
    "datasets[].field_human": "the `sharegpt` type is gone; write `type: chat_template` with `roles`",
    "datasets[].field_model": "the `sharegpt` type is gone; write `type: chat_template` with `roles`",
}

# Of those, the ones whose wish is always granted; setting any other one is worth a warning.
_ALWAYS_SO = frozenset(
    """low_cpu_mem_usage save_safetensors tokenizer_save_jinja_files include_tkps include_tokens_per_second hf_use_auth_token merge_method rope_scaling
    is_llama_derived_model is_mistral_derived_model is_qwen_derived_model is_falcon_derived_model
    base_model_ignore_patterns preprocess_shards tiled_mlp_use_original_mlp
    fsdp_final_state_dict_type final_state_dict_type sync_module_states use_orig_params limit_all_gathers backward_prefetch forward_prefetch""".split()  # noqa: SIM905
)

# Options for which zero, written out, asks for nothing.
_ZERO_IS_OFF = frozenset({"eval_table_size", "replay_buffer_size"})

# Options that work, with values that do not yet (true and false stand for themselves).
_VALUES_NOT_BUILT: dict[str, tuple[Any, ...]] = {
    "tiled_mlp_use_original_mlp": (False,),
    "merge_method": ("memory_efficient",),
    "low_cpu_mem_usage": (False,),
    "save_safetensors": (False,),
    "tokenizer_save_jinja_files": (False,),
}


@cache
def table() -> dict[str, Effect]:
    """The effect of every option that has one, by its name as in `datasets[].type`."""
    effects: dict[str, Effect] = {}
    for module, names in _IMPLEMENTED.items():
        effects |= {name: Effect(kind="implemented", where=module) for name in names.split()}
    for target, arguments in _PASSED.items():
        effects |= {
            name: Effect(kind="passed", where=f"{target}.{argument}" if " " not in target else f"{target} ({argument})")
            for name, argument in arguments.items()
        }
    effects |= {name: Effect(kind="internal", where=reason) for name, reason in _INTERNAL.items()}
    effects |= {name: Effect(kind="refused", where=reason) for name, reason in _REFUSED.items()}
    return effects


def effect_of(name: str) -> Effect:
    """The effect of an option named as in `datasets[].type`. Options of `test_datasets` share those of `datasets`."""
    name = name.replace("test_datasets[]", "datasets[]", 1)
    if name.startswith("launch."):
        return Effect(kind="implemented", where="launcher")
    return table().get(name, Effect(kind="unsupported"))


def check(config: TrainingConfig) -> Iterator[Finding]:
    """A finding for every option that is set and has no effect here, or must not be set."""
    for name in TrainingConfig.model_fields:
        if name in config.model_fields_set and name != "launch":
            yield from _check(config, name, (name,))


def _check(section: BaseModel, name: str, path: Path) -> Iterator[Finding]:
    value = getattr(section, name)
    effect = effect_of(generic(path))
    default = type(section).model_fields[name].get_default(call_default_factory=True)
    if any(value is refused or (isinstance(refused, str) and value == refused) for refused in _VALUES_NOT_BUILT.get(generic(path), ())):
        shown = str(value).lower() if isinstance(value, bool) else value
        why = f": {effect.where}" if effect.kind == "internal" else ""
        yield Finding(code="unsupported", path=path, message=f"'{dotted(path)}: {shown}' is known, not supported here yet{why}")
    elif value == default or _asks_for_nothing(name, value):
        return
    elif effect.kind == "refused":
        yield Finding(code="unsupported", path=path, message=f"'{dotted(path)}' is refused", fix=effect.where)
    elif effect.kind == "unsupported":
        yield Finding(
            code="unsupported",
            path=path,
            message=f"'{dotted(path)}' is known, not supported here yet",
            fix="Remove it: training here would not act on it.",
        )
    elif effect.kind == "internal" and name not in _ALWAYS_SO:
        yield Finding(
            code="no-effect", path=path, message=f"'{dotted(path)}' changes nothing here: {effect.where}", fix="Remove it.", warning=True
        )
    elif isinstance(value, BaseModel):
        yield from _check_section(value, path)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, BaseModel):
                yield from _check_section(item, (*path, index))


def _asks_for_nothing(name: str, value: Any) -> bool:
    """Whether a value, though written, leaves the option off: blank, false, empty, or a zero that means off.

    An empty section asks for its defaults, but for `fsdp_config: {}`, which recipes write for none.
    """
    empty = name == "fsdp_config" and isinstance(value, BaseModel) and not value.model_fields_set
    return value is None or value is False or empty or value in ("", [], {}) or (value == 0 and name in _ZERO_IS_OFF)


def _check_section(section: BaseModel, path: Path) -> Iterator[Finding]:
    for name in type(section).model_fields:
        if name in section.model_fields_set:
            yield from _check(section, name, (*path, name))
