"""Every option that the table of effects says is passed on changes the very argument that the table names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.config.effects import table
from runtime.config.schema import TrainingConfig
from runtime.config.shape import literals, members
from runtime.model.precision import choose_precision
from runtime.training.arguments import tracker_environment, training_arguments
from runtime.training.cadence import cadence_of

pytestmark = pytest.mark.train

BASE = "base_model: org/m\nlearning_rate: 0.001\nval_set_size: 0.1\ndatasets: [{path: org/d, type: alpaca}]\nlora_r: 8\nlora_alpha: 16\n"
PASSED = {name: effect.where for name, effect in table().items() if effect.kind == "passed"}
# Options whose type does not tell a sensible value, and what they need beside them: (value, beside).
VALUES: dict[str, tuple[Any, str]] = {
    "lora_target_modules": (["q_proj"], ""),
    "lora_target_linear": (True, ""),
    "lora_target_parameters": (["mlp.weight"], "lora_target_modules: [q_proj]\n"),
    "lora_modules_to_save": (["lm_head"], ""),
    "lora_rank_pattern": ({"q_proj": 4}, ""),
    "lora_alpha_pattern": ({"q_proj": 4}, ""),
    "peft_init_lora_weights": ("gaussian", ""),
    "peft_layers_to_transform": ([0], "lora_target_modules: [q_proj]\n"),
    "peft_layers_pattern": (["layers"], "lora_target_modules: [q_proj]\npeft_layers_to_transform: [0]\n"),
    "peft_layer_replication": ([[0, 2], [1, 3]], ""),
    "peft_trainable_token_indices": ([1, 2], ""),
    "accelerator_config": ({"split_batches": True}, ""),
    "cosine_min_lr_ratio": (0.2, ""),
    "dataloader_prefetch_factor": (4, "dataloader_num_workers: 1\n"),
    "remove_unused_columns": (False, ""),
    "bf16": (True, ""),
    "gradient_checkpointing_kwargs": ({"use_reentrant": True}, "gradient_checkpointing: true\n"),
    "lr_scheduler": ("linear", ""),
    "lr_scheduler_kwargs": ({"num_cycles": 2}, "lr_scheduler: cosine_with_restarts\n"),
    "metric_for_best_model": ("accuracy", ""),
    "greater_is_better": (True, "metric_for_best_model: loss\n"),
    "optim_args": ({"rank": 4}, ""),
    "optim_target_modules": (["q_proj"], ""),
    "optimizer": ("adafactor", ""),
    "logging_nan_inf_filter": (True, ""),
    "trackio_space_id": ("org/space", ""),
    "trackio_project_name": ("other", ""),
    "torch_compile_backend": ("eager", "torch_compile: true\n"),
    "torch_compile_mode": ("reduce-overhead", "torch_compile: true\n"),
    "warmup_ratio": (0.2, ""),
    "learning_rate": (0.5, ""),
    "seed": (7, ""),
}
# What this machine cannot be asked: an option for a GPU changes its argument on one alone.
ON_A_GPU = {"tf32", "fp16", "dataloader_pin_memory"}


def value_of(name: str) -> Any:
    """A value of the option's type that is not its default."""
    info = TrainingConfig.model_fields[name]
    default = info.get_default(call_default_factory=True)
    kinds = list(members(info.annotation))
    if bool in kinds:
        return not default
    number = next((kind for kind in (int, float) if kind in kinds), None)
    if number is not None:
        return 3 if number is int else 0.25
    return next((choice for choice in literals(info.annotation) if choice != default), "x")


def a_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 32,
    }
    return LlamaForCausalLM(LlamaConfig(**sizes))


def checked(text: str) -> Any:
    return TrainingConfig.model_validate(yaml.safe_load(text))


def passed(recipe: Any, target: str, folder: Path) -> dict[str, Any]:
    """The arguments of the object that `target` names."""
    if target.startswith("LoraConfig"):
        from runtime.model.adapter import lora_settings

        return dict(lora_settings(recipe, a_model()).to_dict())
    if target.startswith("the environment"):
        return dict(tracker_environment(recipe))
    cadence = cadence_of(recipe, rows=1000, world_size=1, evaluates=True)
    precision = choose_precision(recipe, cuda=False, bf16_supported=False)
    return dict(vars(training_arguments(recipe, cadence, precision, scratch=folder, cuda=False)))


def _comparable(value: Any) -> Any:
    return (
        sorted(map(str, value)) if isinstance(value, set | list | tuple) else str(vars(value)) if hasattr(value, "__dict__") else str(value)
    )


@pytest.mark.parametrize("name", [name for name in PASSED if name not in ON_A_GPU])
def test_an_option_that_is_passed_on_changes_its_argument(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: object()) if name.startswith("use_") else None
    where = PASSED[name]
    target, argument = where.split(" (")[0], where.removesuffix(")").rpartition("(")[2].rpartition(".")[2]
    value, beside = VALUES.get(name, (value_of(name), ""))
    options = yaml.safe_load(BASE + beside)
    before = passed(checked(yaml.safe_dump(options)), target, tmp_path)
    after = passed(checked(yaml.safe_dump(options | {name: value})), target, tmp_path)
    assert _comparable(after.get(argument)) != _comparable(before.get(argument)), f"{name}: {value} changes nothing in {argument}"


def test_no_case_is_left_over() -> None:
    assert set(VALUES) | ON_A_GPU <= set(PASSED)
