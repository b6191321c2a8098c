"""A checked config written back as plain YAML, and its identity."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

from runtime.config.schema import TrainingConfig

# Options that change where a run writes, what it reports or when it saves, and nothing in what is learnt.
_NOT_LEARNT = frozenset(
    {
        "launch",
        "output_dir",
        "resume_from_checkpoint",
        "auto_resume_from_checkpoints",
        "save_strategy",
        "save_steps",
        "saves_per_epoch",
        "save_total_limit",
        "save_first_step",
        "save_only_model",
        "save_safetensors",
        "dynamic_checkpoint",
        "logging_steps",
        "gc_steps",
        "gc_collect_steps",
        "generate_samples",
        "num_generation_samples",
        "eval_table_size",
        "eval_max_new_tokens",
        "dataset_prepared_path",
        "dataset_num_proc",
        "dataset_keep_in_memory",
        "include_tokens_per_second",
        "include_tkps",
        "debug",
        "strict",
    }
)
_NOT_LEARNT_GROUPS = (
    "wandb_",
    "mlflow_",
    "hf_mlflow_",
    "comet_",
    "trackio_",
    "swanlab_",
    "otel_metrics_",
    "gradio_",
    "hub_",
    "use_wandb",
    "use_mlflow",
    "use_comet",
    "use_trackio",
    "use_tensorboard",
    "use_swanlab",
    "use_otel",
    "generation_",
    "profiler_",
    "sync_profiler_",
    "lm_eval_",
)


def config_hash(config: TrainingConfig) -> str:
    """Hex SHA-256 of what the config says about learning. Options left at their defaults do not count, so a new option changes no old hash."""
    told = config.model_dump(mode="json", exclude_defaults=True, exclude=set(_NOT_LEARNT))
    kept = {key: value for key, value in told.items() if not key.startswith(_NOT_LEARNT_GROUPS)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def dump_yaml(config: TrainingConfig) -> str:
    """The options that were set, under their current names, as YAML that reads back to the same config."""
    return yaml.safe_dump(
        _plain(config.model_dump(exclude_unset=True)), sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
