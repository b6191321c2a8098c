"""The Trainer's arguments for a recipe, and the table that says which option reaches which argument."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError
from runtime.config.wishes import recomputes
from runtime.model.load import seed_of
from runtime.model.precision import Precision
from runtime.training.activations import in_host_memory
from runtime.training.cadence import Cadence
from runtime.training.compiling import compiles
from runtime.training.optimizers.named import arguments_of, named_optimizer
from runtime.training.schedule import schedule_of
from runtime.training.sharding.settings import Sharding
from runtime.training.sharding.wrapping import mesh_of

if TYPE_CHECKING:
    from transformers import TrainingArguments

# Options whose value, when set, is handed to the argument as it is.
PASSED: dict[str, str] = {
    "adam_beta1": "adam_beta1",
    "adam_beta2": "adam_beta2",
    "adam_epsilon": "adam_epsilon",
    "dataloader_drop_last": "dataloader_drop_last",
    "dataloader_num_workers": "dataloader_num_workers",
    "dataloader_pin_memory": "dataloader_pin_memory",
    "dataloader_prefetch_factor": "dataloader_prefetch_factor",
    "accelerator_config": "accelerator_config",
    "ddp_broadcast_buffers": "ddp_broadcast_buffers",
    "ddp_bucket_cap_mb": "ddp_bucket_cap_mb",
    "ddp_find_unused_parameters": "ddp_find_unused_parameters",
    "ddp_timeout": "ddp_timeout",
    "deepspeed": "deepspeed",
    "eval_on_start": "eval_on_start",
    "full_determinism": "full_determinism",
    "greater_is_better": "greater_is_better",
    "max_grad_norm": "max_grad_norm",
    "metric_for_best_model": "metric_for_best_model",
    "neftune_noise_alpha": "neftune_noise_alpha",
    "optim_target_modules": "optim_target_modules",
    "remove_unused_columns": "remove_unused_columns",
    "save_only_model": "save_only_model",
    "torch_empty_cache_steps": "torch_empty_cache_steps",
    "trackio_space_id": "trackio_space_id",
    "weight_decay": "weight_decay",
}

# Options that are computed into arguments, and where they end.
DERIVED: dict[str, tuple[str, ...]] = {
    "batch_size": ("gradient_accumulation_steps",),
    "bf16": ("bf16", "bf16_full_eval"),
    "cosine_min_lr_ratio": ("lr_scheduler_type", "lr_scheduler_kwargs"),
    "curriculum_sampling": ("train_sampling_strategy",),
    "eval_batch_size": ("per_device_eval_batch_size",),
    "eval_steps": ("eval_strategy", "eval_steps"),
    "eval_strategy": ("eval_strategy", "eval_steps"),
    "evals_per_epoch": ("eval_strategy", "eval_steps"),
    "fp16": ("fp16",),
    "fsdp": ("fsdp",),
    "fsdp_config": ("fsdp", "fsdp_config", "parallelism_config"),
    "gradient_accumulation_steps": ("gradient_accumulation_steps",),
    "gradient_checkpointing": ("activation_checkpointing", "activation_checkpointing_kwargs"),
    "gradient_checkpointing_kwargs": ("activation_checkpointing_kwargs",),
    "group_by_length": ("train_sampling_strategy",),
    "learning_rate": ("learning_rate",),
    "load_best_model_at_end": ("metric_for_best_model",),
    "logging_nan_inf_filter": ("logging_nan_inf_filter",),
    "logging_steps": ("logging_steps",),
    "lr_scheduler": ("lr_scheduler_type",),
    "lr_scheduler_kwargs": ("lr_scheduler_kwargs",),
    "max_steps": ("max_steps",),
    "micro_batch_size": ("per_device_train_batch_size",),
    "num_epochs": ("num_train_epochs",),
    "optim_args": ("optim_args",),
    "optimizer": ("optim",),
    "seed": ("seed",),
    "tf32": ("tf32",),
    "torch_compile": ("torch_compile",),
    "torch_compile_backend": ("torch_compile_backend",),
    "torch_compile_mode": ("torch_compile_mode",),
    "use_comet": ("report_to",),
    "use_mlflow": ("report_to",),
    "use_tensorboard": ("report_to",),
    "use_trackio": ("report_to",),
    "use_wandb": ("report_to",),
    "wandb_name": ("run_name",),
    "mlflow_run_name": ("run_name",),
    "trackio_run_name": ("run_name",),
    "trackio_project_name": ("project",),
    "warmup_ratio": ("warmup_steps",),
    "warmup_steps": ("warmup_steps",),
}

# Options that trackers read from the environment of this process.
ENVIRONMENT: dict[str, str] = {
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
}

TRACKERS = {
    "use_wandb": "wandb",
    "use_mlflow": "mlflow",
    "use_comet": "comet_ml",
    "use_tensorboard": "tensorboard",
    "use_trackio": "trackio",
}


def training_arguments(
    config: Any, cadence: Cadence, precision: Precision, *, scratch: Path, cuda: bool, sharding: Sharding | None = None
) -> TrainingArguments:
    """What the Trainer is told. `scratch` is the only folder it may write to by itself; `sharding` spreads the training state over the processes.

    The Trainer neither saves, rotates nor loads checkpoints on its own beat: saving is `Cadence`'s, so that a checkpoint is sealed or absent.
    Raises UserError when the Trainer refuses a value.
    """
    from transformers import TrainingArguments

    settings: dict[str, Any] = {
        argument: getattr(config, option) for option, argument in PASSED.items() if getattr(config, option) is not None
    }
    settings |= {
        "output_dir": str(scratch),
        "use_cpu": not cuda,
        "per_device_train_batch_size": cadence.micro_batch_size,
        # Where the recipe's micro batch did not fit, a larger batch of an evaluation may not either.
        "per_device_eval_batch_size": min(
            config.eval_batch_size or cadence.micro_batch_size, cadence.micro_batch_size if cadence.lowered else math.inf
        ),
        "gradient_accumulation_steps": cadence.gradient_accumulation_steps,
        "num_train_epochs": float(config.num_epochs),
        "max_steps": config.max_steps if config.max_steps and config.max_steps > 0 else -1,
        "learning_rate": float(config.learning_rate),
        "optim": _optimizer(config),
        "optim_args": ",".join(f"{name}={value}" for name, value in arguments_of(config.optim_args).items()) or None,
        "warmup_steps": _warmup(config, cadence.total_steps),
        "seed": seed_of(config),
        "data_seed": seed_of(config),
        "bf16": precision.bf16,
        "fp16": precision.fp16,
        "bf16_full_eval": precision.full_eval,
        "logging_steps": cadence.logging_steps,
        "logging_nan_inf_filter": bool(config.logging_nan_inf_filter),
        "eval_strategy": "steps" if cadence.eval_steps else "no",
        "eval_steps": cadence.eval_steps or None,
        "save_strategy": "no",
        # Searching the graph for unused parameters costs a pass a step; every trainable parameter of a language model is used, but for LISA's waiting layers.
        "ddp_find_unused_parameters": bool(config.ddp_find_unused_parameters or config.lisa_n_layers),
        "report_to": [name for option, name in TRACKERS.items() if getattr(config, option)] or "none",
        "run_name": config.wandb_name or config.mlflow_run_name or config.trackio_run_name,
        "disable_tqdm": True,
        "use_cache": False,
        **_schedule(config),
        **_sampling(config),
        **_checkpointing(config),
        **_compile(config, cuda=cuda),
    }
    if config.trackio_project_name:
        settings["project"] = config.trackio_project_name
    if sharding is not None:
        settings |= {"fsdp": True, "fsdp_config": {"version": 2}, "parallelism_config": mesh_of(sharding)}
    if cadence.save_best and "metric_for_best_model" not in settings:
        settings["metric_for_best_model"] = "loss"
    try:
        arguments = TrainingArguments(**settings)
    except (ValueError, TypeError, ImportError, NotImplementedError, FileNotFoundError) as error:
        raise UserError(
            Problem(
                code="conflict",
                message=f"the Trainer refuses these settings: {str(error).splitlines()[0]}",
                fix="see the option it names with `launcher explain`",
            )
        ) from error
    if sharding is not None:
        # What accelerate takes; the Trainer's own settings name a part of it.
        arguments.fsdp_plugin_args = dict(sharding.plugin)
    return arguments


def tracker_environment(config: Any) -> dict[str, str]:
    """The environment variables trackers need for the recipe's options."""
    values = {variable: getattr(config, option) for option, variable in ENVIRONMENT.items() if getattr(config, option) is not None}
    return {variable: ("true" if value else "false") if isinstance(value, bool) else str(value) for variable, value in values.items()}


def _warmup(config: Any, total_steps: int) -> int | float:
    """Steps, or the share of all steps when below 1. Unset: 3 % of the steps, at most 100, as the reference does."""
    if config.warmup_ratio is not None:
        # A whole number of 1 would be one step to the Trainer, not all of them.
        return config.warmup_ratio if config.warmup_ratio < 1 else total_steps
    return min(int(0.03 * total_steps), 100) if config.warmup_steps is None else int(config.warmup_steps)


def _optimizer(config: Any) -> str:
    # The Trainer knows no other names than transformers'; one built here is put in its place by RunTrainer.
    return (
        "adamw_torch"
        if named_optimizer(config) is not None
        else str(getattr(config.optimizer, "value", config.optimizer) or "adamw_torch_fused")
    )


def _schedule(config: Any) -> dict[str, Any]:
    if schedule_of(config).own_shape:
        # The same holds for schedules.
        return {"lr_scheduler_type": "constant", "lr_scheduler_kwargs": None}
    name = str(getattr(config.lr_scheduler, "value", config.lr_scheduler) or "cosine")
    kwargs = dict(config.lr_scheduler_kwargs or {})
    if config.cosine_min_lr_ratio is not None:
        if name not in ("cosine", "cosine_with_min_lr"):
            raise UserError(
                Problem(
                    code="conflict",
                    path="cosine_min_lr_ratio",
                    message=f"it shapes the cosine schedule, and lr_scheduler is {name}",
                    fix="set `lr_scheduler: cosine`",
                )
            )
        name = "cosine_with_min_lr"
        kwargs["min_lr_rate"] = config.cosine_min_lr_ratio
    return {"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs or None}


def _sampling(config: Any) -> dict[str, Any]:
    if config.curriculum_sampling:
        return {"train_sampling_strategy": "sequential"}
    return {"train_sampling_strategy": "group_by_length"} if config.group_by_length else {}


def _checkpointing(config: Any) -> dict[str, Any]:
    if not recomputes(config):
        return {}
    # Under FSDP too it is transformers' own: accelerate's draws dropout anew when it computes again, and then the gradients are wrong.
    kwargs: dict[str, Any] = {"use_reentrant": False} | (config.gradient_checkpointing_kwargs or {})
    if in_host_memory(config):
        kwargs["offload"] = True
    return {"activation_checkpointing": True, "activation_checkpointing_kwargs": kwargs}


def _compile(config: Any, *, cuda: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if compiles(config):
        # The Trainer takes either of the last two alone as a wish to compile.
        settings = {
            "torch_compile": True,
            "torch_compile_backend": config.torch_compile_backend,
            "torch_compile_mode": config.torch_compile_mode,
        }
    if config.tf32 is not None:
        settings["tf32"] = config.tf32 if config.tf32 != "auto" else True if cuda and _has_tf32() else None
    return settings


def _has_tf32() -> bool:
    import torch

    return bool(torch.cuda.get_device_capability() >= (8, 0))
