"""Options reach the Trainer's arguments, and the table says where."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from runtime.config.load import check_text
from runtime.config.schema import TrainingConfig
from runtime.model.precision import Precision
from runtime.training.arguments import DERIVED, ENVIRONMENT, PASSED, TRACKERS, tracker_environment, training_arguments
from runtime.training.cadence import cadence_of

pytestmark = pytest.mark.train

BASE = "base_model: org/m\nlearning_rate: 0.001\nval_set_size: 0.1\ndatasets: [{path: org/d, type: alpaca}]\n"


def config(text: str = "") -> Any:
    checked = check_text(BASE + text, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return checked.config


def arguments(text: str, tmp_path: Path, *, rows: int = 1000) -> Any:
    recipe = config(text)
    return training_arguments(
        recipe, cadence_of(recipe, rows=rows, world_size=1, evaluates=True), Precision(weights="float32"), scratch=tmp_path, cuda=False
    )


def test_the_table_names_options_and_arguments_that_exist() -> None:
    from transformers import TrainingArguments

    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert {*PASSED, *DERIVED, *ENVIRONMENT, *TRACKERS} <= set(TrainingConfig.model_fields)
    assert {*PASSED.values(), *(name for names in DERIVED.values() for name in names)} <= known
    assert not set(PASSED) & set(DERIVED)


def test_defaults_are_the_references(tmp_path: Path) -> None:
    given = arguments("", tmp_path)
    assert (given.optim, given.lr_scheduler_type, given.seed, given.weight_decay) == ("adamw_torch_fused", "cosine", 42, 0.0)
    assert (given.bf16, given.use_cpu, given.report_to, given.disable_tqdm) == (False, True, [], True)
    assert given.warmup_steps == 30
    assert given.save_strategy == "no"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("warmup_ratio: 0.1\n", {"warmup_steps": 0.1}),
        ("warmup_steps: 7\n", {"warmup_steps": 7}),
        ("cosine_min_lr_ratio: 0.2\n", {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.2}}),
        ("evals_per_epoch: 4\n", {"eval_strategy": "steps", "eval_steps": 250}),
        (
            "batch_size: 16\nmicro_batch_size: 2\n",
            {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8, "per_device_eval_batch_size": 2},
        ),
        ("gradient_checkpointing: true\n", {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}}),
        ("gradient_checkpointing: offload_disk\n", {"activation_checkpointing_kwargs": {"use_reentrant": False}}),
        ("torch_compile_backend: eager\n", {"torch_compile": False}),
        ("group_by_length: true\n", {"train_sampling_strategy": "group_by_length"}),
        (
            "optimizer: adafactor\nadam_beta2: 0.95\nmax_grad_norm: 0.3\nweight_decay: 0.1\n",
            {"optim": "adafactor", "adam_beta2": 0.95, "max_grad_norm": 0.3, "weight_decay": 0.1},
        ),
        ("seed: 7\nneftune_noise_alpha: 5\n", {"seed": 7, "data_seed": 7, "neftune_noise_alpha": 5.0}),
    ],
)
def test_options_reach_their_arguments(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    given = arguments(text, tmp_path)
    assert {name: getattr(given, name) for name in expected} == expected


def test_trackers_read_their_environment() -> None:
    recipe = config("use_wandb: true\nwandb_project: p\nwandb_mode: offline\n")
    assert tracker_environment(recipe) == {"WANDB_PROJECT": "p", "WANDB_MODE": "offline"}
