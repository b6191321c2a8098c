"""Advice: what it proposes must fit, and must be the least that does."""

from __future__ import annotations

import pytest

from launcher.estimate.advice import changes_that_fit, largest_micro_batch, with_largest_batch
from launcher.estimate.estimate import estimate
from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import cards
from launcher.estimate.model_source import find_model
from launcher.estimate.range import exactly
from launcher.estimate.rows import DataSize
from runtime.config.schema import TrainingConfig

DATA = DataSize(rows=exactly(10_000), tokens=exactly(4_000_000), longest=4096, basis="counted")


def recipe(**options) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "base_model": "meta-llama/Llama-3.1-8B",
            "learning_rate": 1e-5,
            "datasets": [{"path": "rows.jsonl", "type": "chat_template"}],
            "sequence_len": 4096,
            "sample_packing": True,
            "bf16": True,
            "flash_attention": True,
            "micro_batch_size": 8,
            "gradient_accumulation_steps": 2,
            **options,
        }
    )


def world(config: TrainingConfig, gpus: str):
    return config, find_model(config.base_model, environment={}), cards(parse_gpus(gpus)), DATA


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ({}, "A100-80GB:1"),
        ({}, "RTX4090:1"),
        ({"adapter": "lora", "lora_r": 16, "lora_alpha": 32, "lora_target_linear": True}, "L4:1"),
        ({"adapter": "qlora", "load_in_4bit": True, "lora_r": 16, "lora_alpha": 32, "lora_target_linear": True}, "T4:1"),
    ],
)
def test_what_is_proposed_fits_and_nothing_of_it_could_be_left_out(options: dict[str, object], gpus: str) -> None:
    config, model, hardware, data = world(recipe(**options), gpus)
    now = estimate(config, model, hardware, data)
    assert now.memory.verdict == "does-not-fit"
    changes = changes_that_fit(config, model, hardware, data, now=now)
    assert len(changes) == 2
    for change in changes:
        again = estimate(config.model_copy(update=dict(change.options)), model, hardware, data)
        assert again.memory.verdict != "does-not-fit"
        assert change.slower is not None
        for left_out in change.options:
            if left_out in ("gradient_accumulation_steps", "lora_r", "lora_alpha", "lora_target_linear", "load_in_8bit", "adapter"):
                continue
            fewer = {name: value for name, value in change.options.items() if name != left_out}
            assert estimate(config.model_copy(update=fewer), model, hardware, data).memory.verdict == "does-not-fit", left_out


def test_what_changes_nothing_but_time_comes_first() -> None:
    config, model, hardware, data = world(
        recipe(adapter="lora", lora_r=16, lora_alpha=32, lora_target_linear=True, gradient_checkpointing=False), "A100-80GB:1"
    )
    first = changes_that_fit(config, model, hardware, data, now=estimate(config, model, hardware, data))[0]
    assert set(first.options) <= {"micro_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "chunked_cross_entropy"}


def test_the_global_batch_stays() -> None:
    config, model, hardware, data = world(recipe(adapter="lora", lora_r=8, lora_alpha=8, lora_target_linear=True), "A100-80GB:1")
    for change in changes_that_fit(config, model, hardware, data, now=estimate(config, model, hardware, data), most=4):
        changed = config.model_copy(update=dict(change.options))
        assert changed.micro_batch_size * changed.gradient_accumulation_steps == 16


def test_a_model_too_large_for_any_change_gets_none() -> None:
    config, model, hardware, data = world(recipe(base_model="meta-llama/Llama-3.1-70B"), "T4:1")
    assert changes_that_fit(config, model, hardware, data, now=estimate(config, model, hardware, data)) == []


@pytest.mark.parametrize("gpus", ["A100-80GB:1", "H200:1"])
def test_the_largest_micro_batch_fits_and_one_more_does_not(gpus: str) -> None:
    config, model, hardware, data = world(
        recipe(adapter="lora", lora_r=8, lora_alpha=8, lora_target_linear=True, gradient_checkpointing=True), gpus
    )
    largest = largest_micro_batch(config, model, hardware, data)
    assert largest is not None
    verdicts = [
        estimate(config.model_copy(update={"micro_batch_size": size, "eval_batch_size": size}), model, hardware, data).memory.verdict
        for size in (largest, largest + 1)
    ]
    assert verdicts[0] == "fits"
    assert verdicts[1] != "fits"


def test_no_micro_batch_is_none() -> None:
    assert largest_micro_batch(*world(recipe(), "T4:1")) is None


@pytest.mark.parametrize(
    ("options", "largest", "micro", "accumulation"),
    [
        ({"micro_batch_size": 1, "gradient_accumulation_steps": 16}, 6, 4, 4),
        ({"micro_batch_size": 2, "gradient_accumulation_steps": 6}, 100, 12, 1),
        ({"micro_batch_size": 3, "gradient_accumulation_steps": 5}, 4, 3, 5),
    ],
)
def test_the_micro_batch_divides_the_global_batch(options: dict[str, int], largest: int, micro: int, accumulation: int) -> None:
    settled = with_largest_batch(recipe(**options), largest)
    assert (settled.micro_batch_size, settled.gradient_accumulation_steps) == (micro, accumulation)


def test_state_is_spread_over_several_gpus_before_the_method_changes() -> None:
    plain = {"base_model": "Qwen/Qwen3-14B", "micro_batch_size": 1, "gradient_accumulation_steps": 2, "gradient_checkpointing": True}
    config, model, hardware, data = world(recipe(optimizer="adamw_8bit", **plain), "A100-80GB:8")
    now = estimate(config, model, hardware, data)
    assert now.memory.verdict == "does-not-fit"
    first = changes_that_fit(config, model, hardware, data, now=now)[0]
    assert first.options["fsdp_config"] == {"reshard_after_forward": True}
    assert first.options["optimizer"] == "adamw_torch_fused", "the 8-bit one cannot step over shards"
    assert 'fsdp_config: {"reshard_after_forward": true}' in str(first)
    alone = changes_that_fit(config, model, cards(parse_gpus("A100-80GB:1")), data, now=now)
    assert not any("fsdp_config" in change.options for change in alone)


def test_gradients_are_spread_at_once_before_anything_larger_changes() -> None:
    sharded = {"optimizer": "adamw_8bit", "micro_batch_size": 1, "gradient_accumulation_steps": 8, "gradient_checkpointing": True}
    config, model, hardware, data = world(
        recipe(base_model="Qwen/Qwen3-32B", cut_cross_entropy=True, fsdp_version=2, fsdp_config={"reshard_after_forward": True}, **sharded),
        "H100:8",
    )
    now = estimate(config, model, hardware, data)
    assert now.memory.verdict == "does-not-fit"
    first = changes_that_fit(config, model, hardware, data, now=now)[0]
    assert dict(first.options) == {"accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}}}
    assert 'accelerator_config: {"gradient_accumulation_kwargs": {"sync_each_batch": true}}' in str(first)
