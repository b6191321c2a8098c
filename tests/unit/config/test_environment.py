"""Rules about a recipe and its machine: each is broken once, and nothing is said where nothing is known."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config.document import dotted
from runtime.config.environment import RULES, Machine, ModelShape, check, problems, resolve
from runtime.config.environment.devices import NEEDS
from runtime.config.environment.machine import capability
from runtime.config.environment.packages import NEEDS as PACKAGES
from runtime.config.load import check_text
from runtime.config.schema import TrainingConfig

BASE: dict[str, Any] = {"base_model": "org/model", "datasets": [{"path": "rows.jsonl", "type": "alpaca"}], "learning_rate": 1e-5}
LORA: dict[str, Any] = {"adapter": "lora", "lora_r": 8, "lora_alpha": 16, "lora_target_linear": True}
GRPO: dict[str, Any] = {"rl": "grpo", "trl": {"reward_funcs": ["mine.short"], "num_generations": 8}}


def gpus(name: str, version: tuple[int, int] | None, count: int = 1, **more: Any) -> Machine:
    return Machine(gpu=name, compute_capability=version, gpus_per_node=count, **more)


CPU = Machine()
P100, V100, T4, A100, L4, H100 = (
    gpus(name, version)
    for name, version in (("P100", (6, 0)), ("V100", (7, 0)), ("T4", (7, 5)), ("A100", (8, 0)), ("L4", (8, 9)), ("H100", (9, 0)))
)
EIGHT = gpus("A100", (8, 0), 8)
LLAMA = ModelShape(heads=32, kv_heads=8, context=8192, parameters=8_000_000_000)


def config(**values: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({**BASE, **values})


def found(machine: Machine, **values: Any) -> list[tuple[str, bool]]:
    return [(dotted(finding.path), finding.warning) for finding in check(config(**values), machine)]


# A recipe, a machine that cannot do it (or not well), the option that is at fault, and a machine that can, if it is one of the same kind.
BROKEN: list[tuple[dict[str, Any], Machine, str, Machine | None]] = [
    ({"bf16": True}, T4, "bf16", A100),
    ({"bf16": "full"}, V100, "bf16", A100),
    ({"bf16": False, "bfloat16": True}, T4, "bfloat16", A100),
    ({"bf16": False, "fp16": True}, CPU, "fp16", T4),
    ({"tf32": True}, T4, "tf32", A100),
    ({"tf32": True}, CPU, "tf32", A100),
    ({"fp8": True}, A100, "fp8", L4),
    ({"torch_compile": True}, P100, "torch_compile", V100),
    ({"flash_attention": True}, T4, "flash_attention", A100),
    ({"attn_implementation": "flash_attention_2"}, CPU, "attn_implementation", A100),
    ({"attn_implementation": "flash_attention_3"}, T4, "attn_implementation", H100),
    ({"attn_implementation": "flash_attention_4"}, A100, "attn_implementation", H100),
    ({"flex_attention": True}, CPU, "flex_attention", T4),
    ({"sage_attention": True}, T4, "sage_attention", A100),
    ({"attn_implementation": "fp8"}, A100, "attn_implementation", H100),
    ({"xformers_attention": True}, CPU, "xformers_attention", T4),
    ({**LORA, "load_in_8bit": True}, V100, "load_in_8bit", T4),
    ({**LORA, "load_in_4bit": True}, gpus("M40", (5, 2)), "load_in_4bit", P100),
    ({"optimizer": "paged_adamw_8bit"}, gpus("M40", (5, 2)), "optimizer", P100),
    ({"model_quantization_config": "Mxfp4Config"}, V100, "model_quantization_config", T4),
    ({"liger_rms_norm": True}, CPU, "liger_rms_norm", T4),
    ({"cut_cross_entropy": True}, T4, "cut_cross_entropy", A100),
    ({"activation_offloading": True, "gradient_checkpointing": True}, CPU, "activation_offloading", T4),
    ({"activation_offloading": "legacy", "gradient_checkpointing": True}, CPU, "activation_offloading", T4),
    ({"gradient_checkpointing": "offload"}, CPU, "gradient_checkpointing", T4),
    ({"gpu_memory_limit": 20}, CPU, "gpu_memory_limit", T4),
    ({"use_kernels": True}, CPU, "use_kernels", T4),
    ({"sync_profiler_steps": 3}, CPU, "sync_profiler_steps", T4),
    ({"fsdp_config": {"offload_params": True}}, CPU, "fsdp_config", EIGHT),
    ({"deepspeed": "zero3"}, CPU, "deepspeed", EIGHT),
    ({"bf16": False, "fp16": True}, A100, "fp16", T4),
    ({"bf16": False}, A100, "bf16", T4),
    ({"deepspeed": "zero2"}, A100, "deepspeed", EIGHT),
    ({"context_parallel_size": 3}, EIGHT, "context_parallel_size", gpus("A100", (8, 0), 3)),
    ({"tensor_parallel_size": 2, "dp_shard_size": 2, "dp_replicate_size": 1}, EIGHT, "dp_shard_size", gpus("A100", (8, 0), 4)),
    ({"tensor_parallel_size": 16}, EIGHT, "tensor_parallel_size", gpus("A100", (8, 0), 16)),
    ({"tensor_parallel_size": 4}, gpus("A100", (8, 0), 4, model=ModelShape(kv_heads=2)), "tensor_parallel_size", gpus("A100", (8, 0), 4)),
    (
        {"context_parallel_size": 8, "context_parallel": {"backend": "ulysses"}},
        gpus("A100", (8, 0), 8, model=ModelShape(heads=12)),
        "context_parallel_size",
        EIGHT,
    ),
    (
        {"context_parallel_size": 8, "context_parallel": {"backend": "usp", "ulysses_size": 8}},
        gpus("A100", (8, 0), 8, model=ModelShape(heads=12)),
        "context_parallel.ulysses_size",
        EIGHT,
    ),
    ({"context_parallel_size": 2, "heads_k_stride": 3}, gpus("A100", (8, 0), 2, model=LLAMA), "heads_k_stride", None),
    (
        {"tensor_parallel_size": 8, "launch": {"storage": "s3://bucket/runs"}},
        gpus("A100", (8, 0), 4, nodes=2),
        "tensor_parallel_size",
        EIGHT,
    ),
    ({}, gpus("A100", (8, 0), 4, nodes=2), "launch.storage", EIGHT),
    ({"expert_parallel_size": 3}, EIGHT, "expert_parallel_size", gpus("A100", (8, 0), 3)),
    ({"device_map": "auto"}, EIGHT, "device_map", gpus("A100", (8, 0), 8, processes=1)),
    ({**LORA, "unsloth_lora_qkv": True}, EIGHT, "unsloth_lora_qkv", A100),
    (
        {
            **LORA,
            "rl": "dpo",
            "load_in_4bit": True,
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": True},
        },
        EIGHT,
        "gradient_checkpointing_kwargs",
        A100,
    ),
    (GRPO, gpus("A100", (8, 0), 3), "trl.num_generations", EIGHT),
    (
        {**GRPO, "trl": {**GRPO["trl"], "generation_batch_size": 24}, "micro_batch_size": 2},
        EIGHT,
        "trl.generation_batch_size",
        gpus("A100", (8, 0), 4),
    ),
    ({"accelerator_config": {"split_batches": True}, "micro_batch_size": 4}, EIGHT, "accelerator_config", gpus("A100", (8, 0), 4)),
    ({"sequence_len": 16384}, gpus("A100", (8, 0), model=LLAMA), "sequence_len", A100),
    ({"learning_rate": 2e-4}, gpus("A100", (8, 0), model=LLAMA), "learning_rate", A100),
    ({"use_tensorboard": True}, Machine(packages=frozenset({"torch"})), "use_tensorboard", Machine(packages=frozenset({"tensorboardx"}))),
]


@pytest.mark.parametrize(("values", "unfit", "option", "fit"), BROKEN, ids=[f"{row[2]}-{index}" for index, row in enumerate(BROKEN)])
def test_a_machine_that_cannot_do_it_is_told_and_one_that_can_is_not(
    values: dict[str, Any], unfit: Machine, option: str, fit: Machine | None
) -> None:
    findings = list(check(config(**values), unfit))
    assert [dotted(finding.path) for finding in findings] == [option], findings
    assert all(finding.code == "environment" and finding.fix and finding.message for finding in findings)
    if fit is not None:
        assert found(fit, **values) == []


def test_every_rule_and_every_need_of_a_device_has_a_case() -> None:
    cases = [(config(**values), unfit) for values, unfit, _, _ in BROKEN]
    assert [rule.__name__ for rule in RULES if not any(list(rule(recipe, machine)) for recipe, machine in cases)] == []
    assert [need.what for need in NEEDS if not any(need.asks(recipe) for recipe, _ in cases)] == []


@pytest.mark.parametrize("values", [row[0] for row in BROKEN if "use_tensorboard" not in row[0]], ids=[row[2] for row in BROKEN[:-1]])
def test_a_gpu_nothing_is_known_of_is_not_refused_for_its_age(values: dict[str, Any]) -> None:
    unknown = gpus("MI300X", None, 8)
    assert not [path for path, warning in found(unknown, **values) if path in ("bf16", "tf32", "fp8", "flash_attention", "load_in_8bit")]


@pytest.mark.parametrize("machine", [CPU, T4, A100, H100, EIGHT], ids=str)
def test_an_ordinary_recipe_fits_every_machine(machine: Machine) -> None:
    ordinary = {
        **LORA,
        "bf16": "auto",
        "tf32": "auto",
        "gradient_checkpointing": True,
        "sample_packing": True,
        "optimizer": "adamw_bnb_8bit",
    }
    assert found(machine, **ordinary) == []
    assert found(machine, **ordinary, load_in_4bit=True) == []


@pytest.mark.parametrize(
    "values",
    [
        {"gradient_checkpointing": "offload_disk"},
        {"gradient_checkpointing": True, "activation_offloading": "disk"},
        {"fsdp_config": {}},
        {"fsdp_config": {"reshard_after_forward": True}},
        {"fsdp": [], "deepspeed": None, "tf32": "auto"},
        {"bf16": True},
        {**LORA, "load_in_8bit": True},
    ],
)
def test_what_a_processor_can_do_is_not_refused(values: dict[str, Any]) -> None:
    assert found(CPU, **values) == []


def test_sharding_one_gpu_is_said_only_where_it_saves_nothing() -> None:
    assert found(A100, fsdp_config={"reshard_after_forward": True}) == [("fsdp_config", True)]
    assert found(A100, fsdp_config={"offload_params": True}) == []
    assert found(A100, deepspeed="deepspeed_configs/zero3_bf16_cpuoffload_all.json") == []


def test_scaled_positions_and_adapters_are_no_reason_to_warn() -> None:
    machine = gpus("A100", (8, 0), model=LLAMA)
    assert found(machine, sequence_len=16384, overrides_of_model_config={"rope_scaling": {"factor": 4.0}}) == []
    assert found(machine, learning_rate=2e-4, **LORA) == []
    assert found(gpus("A100", (8, 0), model=ModelShape(parameters=135_000_000)), learning_rate=5e-4) == []


@pytest.mark.parametrize(("asks", "names"), PACKAGES, ids=[names[0] for _, names in PACKAGES])
def test_a_package_is_missed_only_where_it_is_known_what_is_installed(asks: Any, names: tuple[str, ...]) -> None:
    wishes: list[dict[str, Any]] = [
        *({name: True} for name in ("load_in_4bit", "load_in_8bit", "liger_rope", "fp8", "use_ray", "tokenizer_use_mistral_common")),
        *({f"use_{name}": True} for name in ("wandb", "mlflow", "comet", "tensorboard", "trackio", "swanlab")),
        *({"attn_implementation": f"flash_attention_{number}"} for number in (2, 3, 4)),
        {"deepspeed": "zero1"},
        {"lm_eval_tasks": ["arc_easy"]},
    ]
    values = next(wish for wish in wishes if asks(config(**wish)))
    bare = gpus("H100", (9, 0), 2, packages=frozenset())
    assert found(bare, **values) == [(next(iter(values)), False)]
    assert found(gpus("H100", (9, 0), 2, packages=frozenset({names[-1]})), **values) == []
    assert found(gpus("H100", (9, 0), 2), **values) == []


@pytest.mark.parametrize(
    ("values", "machine", "expected"),
    [
        ({}, CPU, {"bf16": False}),
        ({}, T4, {"bf16": False}),
        ({}, A100, {"bf16": True}),
        ({"bf16": True}, A100, {}),
        ({"bf16": False, "fp16": "auto"}, T4, {"fp16": True}),
        ({"bf16": False, "fp16": "auto"}, A100, {"fp16": False}),
        ({"float32": True, "tf32": "auto"}, A100, {"tf32": True}),
        ({"float32": True, "tf32": "auto"}, V100, {"tf32": False}),
        ({"float32": True, "torch_compile": "auto"}, A100, {"torch_compile": True}),
        ({"float32": True, "batch_flattening": "auto"}, A100, {"batch_flattening": False}),
        ({"float32": True, "batch_flattening": "auto", "flash_attention": True}, A100, {"batch_flattening": True}),
    ],
)
def test_auto_comes_to_what_the_machine_can_do(values: dict[str, Any], machine: Machine, expected: dict[str, bool]) -> None:
    assert {one.option: one.value for one in resolve(config(**values), machine)} == expected


@pytest.mark.parametrize(("number", "version"), [(8.6, (8, 6)), (9.0, (9, 0)), (10.3, (10, 3)), (12.0, (12, 0)), (None, None)])
def test_a_capability_is_read_as_two_numbers(number: float | None, version: tuple[int, int] | None) -> None:
    assert capability(number) == version


def test_a_problem_stands_at_its_line() -> None:
    checked = check_text("base_model: a/b\nlearning_rate: 1e-5\nbf16: true\ndatasets: [{path: a, type: alpaca}]\n", file="r.yml")
    assert checked.config is not None
    errors, warnings = problems(checked.config, T4, checked.document)
    assert [(problem.code, problem.path, problem.where) for problem in errors] == [("environment", "bf16", "r.yml:3:1")]
    assert warnings == []
    assert problems(checked.config, T4)[0][0].where == "bf16"
