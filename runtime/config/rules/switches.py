"""Settings of something that is not turned on: they would have no effect."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

# What turns something on (any of them does), and the settings that only it looks at.
SETTINGS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("load_in_4bit", "load_in_8bit"), ("bnb_config_kwargs",)),
    (("load_in_4bit",), ("nf4_backend",)),
    (("nvfp4_merge_aware",), ("nvfp4_merge_aware_start_step",)),
    (("lisa_n_layers",), ("lisa_layers_attribute",)),
    (("scaling_softmax",), ("scaling_softmax_factor", "scaling_softmax_bias")),
    (("fp8",), ("fp8_config",)),
    (("torch_compile",), ("torch_compile_backend", "torch_compile_mode", "torch_compile_options", "torch_compile_regional")),
    (("fp32_norms",), ("fp32_norm_classes",)),
    (("tiled_mlp",), ("tiled_mlp_num_shards",)),
    (("model_quantization_config",), ("model_quantization_config_kwargs",)),
    (("use_pose",), ("pose_split_on_token_ids", "pose_max_context_len", "pose_num_chunks")),
    (("streaming", "pretraining_dataset"), ("streaming_multipack_buffer_size", "pretrain_multipack_buffer_size")),
    (("pretraining_dataset",), ("pretraining_sample_concatenation",)),
    (("balance_labels",), ("label_balance_window_optim_steps",)),
    (("do_bench_eval",), ("bench_dataset", "bench_split")),
    (("hub_model_id",), ("hub_strategy", "hub_revision")),
    (("use_wandb",), ("wandb_entity", "wandb_name", "wandb_run_id", "wandb_watch", "wandb_log_model")),
    (("use_mlflow",), ("mlflow_run_name", "hf_mlflow_log_artifacts")),
    (("use_comet",), ("comet_workspace", "comet_mode", "comet_online", "comet_experiment_config")),
    (("use_trackio",), ("trackio_run_name", "trackio_space_id")),
    (
        ("use_swanlab",),
        (
            "swanlab_experiment_name",
            "swanlab_description",
            "swanlab_workspace",
            "swanlab_mode",
            "swanlab_log_model",
            "swanlab_log_completions",
            "swanlab_completion_log_interval",
            "swanlab_completion_max_buffer",
            "swanlab_lark_webhook_url",
        ),
    ),
    (("use_ray",), ("ray_run_name", "ray_num_workers", "resources_per_worker")),
    (("context_parallel_size",), ("ring_attn_func", "heads_k_stride")),
    (
        ("expert_parallel_size",),
        (
            "expert_parallel_backend",
            "expert_parallel_dispatch_chunks",
            "expert_parallel_num_nvl_bytes",
            "expert_parallel_num_rdma_bytes",
            "expert_parallel_save_dispatch",
            "expert_parallel_token_capacity",
        ),
    ),
    (("reward_model",), ("center_rewards_coefficient",)),
    (("spectrum_top_fraction",), ("spectrum_model_name",)),
    (("lm_eval_tasks",), ("lm_eval_batch_size", "lm_eval_model")),
    (
        ("generate_samples",),
        (
            "num_generation_samples",
            "generation_max_new_tokens",
            "generation_temperature",
            "generation_top_p",
            "generation_top_k",
            "generation_prompt_ratio",
            "generation_do_sample",
        ),
    ),
    (("do_causal_lm_eval",), ("eval_causal_lm_metrics",)),
    (("profiler_steps",), ("profiler_steps_start",)),
    (("sync_profiler_steps",), ("sync_profiler_start_step",)),
    (("use_otel_metrics",), ("otel_metrics_host", "otel_metrics_port")),
    (("reward_model", "process_reward_model", "type_of_model"), ("num_labels",)),
    (
        ("nemo_gym_enabled",),
        (
            "nemo_gym_dir",
            "nemo_gym_auto_clone",
            "nemo_gym_auto_start",
            "nemo_gym_config_paths",
            "nemo_gym_datasets",
            "nemo_gym_head_port",
            "nemo_gym_model_name",
            "nemo_gym_multi_turn",
            "nemo_gym_max_turns",
            "nemo_gym_run_timeout",
            "nemo_gym_server_timeout",
            "nemo_gym_verify_timeout",
        ),
    ),
)


def settings_have_switch(config: TrainingConfig) -> Iterator[Finding]:
    """What a setting belongs to is turned on. Turned off in so many words, its settings may wait for the next time."""
    for switches, names in SETTINGS:
        wanted = any(getattr(config, switch) for switch in switches)
        turned_off = switches[0] in config.model_fields_set and getattr(config, switches[0]) is False
        if wanted or turned_off:
            continue
        for name in names:
            default = TrainingConfig.model_fields[name].get_default(call_default_factory=True)
            if given(config, name) and getattr(config, name) != default:
                yield Finding(
                    code="conflict",
                    path=(name,),
                    involves=switches,
                    message=f"'{name}' has no effect without '{switches[0]}'",
                    fix=f"Set '{switches[0]}' too, or remove it.",
                    warning=True,
                )


RULES = (settings_have_switch,)
