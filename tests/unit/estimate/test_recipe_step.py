from typing import Any

import pytest

from launcher.estimate.architectures import facts_from_config
from launcher.estimate.known_models import known_config
from launcher.estimate.place import Place
from launcher.estimate.recipe_step import RecipeStep, step_of
from launcher.estimate.weights import frozen_or_trained_bytes
from runtime.config.schema import TrainingConfig

FACTS = facts_from_config(known_config("meta-llama/Llama-3.1-8B") or {})
GPU, OLD_GPU, CPU = Place(), Place(bf16=False), Place(device="cpu", bf16=False)


def step(place: Place = GPU, **settings: Any) -> RecipeStep:
    given = {"base_model": "x/y", "learning_rate": 1e-3, "datasets": [{"path": "d", "type": "alpaca"}], **settings}
    return step_of(TrainingConfig.model_validate(given), FACTS, place)


def test_full_fine_tuning_loads_bf16_without_a_master_copy() -> None:
    workload = step().workload
    assert (workload.weight_bytes, workload.residual_bytes, workload.autocast, workload.adapter) == (2, 2, True, None)


def test_a_card_without_bf16_trains_all_weights_in_fp32_and_adapters_over_fp16() -> None:
    assert step(OLD_GPU).workload.weight_bytes == 4
    assert step(OLD_GPU, adapter="lora", lora_r=8, lora_alpha=16).workload.weight_bytes == 2


def test_a_cpu_computes_in_fp32_throughout() -> None:
    workload = step(CPU).workload
    assert (workload.weight_bytes, workload.compute_bytes, workload.autocast, workload.loss) == (4, 4, False, "dropped")


def test_qlora_is_double_quantized_unless_it_says_otherwise() -> None:
    qlora = {"adapter": "qlora", "load_in_4bit": True, "lora_r": 8, "lora_alpha": 16}
    assert step(**qlora).workload.quantization == "nf4-dq"
    assert step(**qlora, bnb_config_kwargs={"bnb_4bit_use_double_quant": False}).workload.quantization == "nf4"
    assert step(**qlora).method == "qlora"


def test_a_4_bit_checkpoint_stays_packed_below_an_adapter() -> None:
    lora = {"adapter": "lora", "lora_r": 8, "lora_alpha": 16}
    assert step(**lora, gptq=True).workload.quantization == "packed"
    stored = facts_from_config(
        (known_config("meta-llama/Llama-3.1-8B") or {}) | {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    )
    config = TrainingConfig.model_validate(
        {"base_model": "x/y", "learning_rate": 1e-3, "datasets": [{"path": "d", "type": "alpaca"}], **lora}
    )
    packed = step_of(config, stored, GPU)
    assert (packed.workload.quantization, packed.method) == ("packed", "qlora")
    in_blocks = sum(count * matrix.weights for count, matrix in stored.matrices())
    assert frozen_or_trained_bytes(stored, packed.workload) == in_blocks * (0.5 + 2.5 / 128) + (stored.parameters - in_blocks) * 2


def test_the_loss_follows_the_kernel_and_the_compiler() -> None:
    assert step().workload.loss == "upcast"
    assert step(cut_cross_entropy=True).workload.loss == "cut"
    assert step(liger_fused_linear_cross_entropy=True).workload.loss == "fused"
    compiled = step(torch_compile=True).workload
    assert (compiled.loss, compiled.compiled) == ("compiled-outputs", True)
    regional = step(torch_compile=True, torch_compile_regional=True).workload
    assert (regional.loss, regional.compiled) == ("upcast", True)


def test_gradients_are_reduced_each_time_where_the_recipe_says_so() -> None:
    fsdp = {"fsdp_config": {"reshard_after_forward": True}, "fsdp_version": 2}
    assert not step(Place(gpus=4), **fsdp).workload.sharding.syncs_each_batch
    each = {"accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}}}
    assert step(Place(gpus=4), **fsdp, **each).workload.sharding.syncs_each_batch


def test_packed_rows_need_a_mask_with_sdpa_and_none_with_flash_attention() -> None:
    assert step(sample_packing=True).workload.masked
    assert not step(sample_packing=True, flash_attention=True).workload.masked
    assert not step(micro_batch_size=1).workload.masked


def test_unpacked_rows_count_at_full_length_and_say_so() -> None:
    assert "as long as sequence_len" in step().assumptions[0]
    assert step(sample_packing=True).assumptions == ()


def test_several_gpus_share_by_what_the_recipe_says() -> None:
    four = Place(gpus=4)
    assert step(four).workload.sharding.kind == "ddp"
    fsdp = step(four, fsdp_config={"offload_params": True, "reshard_after_forward": False}, fsdp_version=2).workload.sharding
    assert (fsdp.kind, fsdp.gpus, fsdp.offload, fsdp.reshard) == ("fsdp", 4, True, False)
    zero = step(four, deepspeed={"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "cpu"}}}).workload.sharding
    assert (zero.kind, zero.offload, zero.offload_states) == ("zero3", False, True)
    assert step(four, deepspeed="deepspeed_configs/zero1.json").workload.sharding.kind == "zero1"
    assert step(Place(gpus=1), fsdp_config={}).workload.sharding.kind == "none"
    assert step(four, fsdp_config={}).workload.sharding.kind == "ddp"


def test_preference_pairs_double_the_rows_and_a_full_reference_stays_loaded() -> None:
    full = step(rl="dpo").workload
    assert (full.pairs, full.reference_model) == (2, True)
    assert not step(rl="dpo", adapter="lora", lora_r=8, lora_alpha=16).workload.reference_model


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"torch_compile": True}, "torch_compile"),
        ({"optimizer": "dion"}, "dion"),
    ],
)
def test_what_is_left_out_is_said(setting: dict[str, Any], said: str) -> None:
    assert any(said in line for line in step(**setting).not_modelled)


def test_a_plain_recipe_leaves_nothing_out() -> None:
    assert step().not_modelled == ()


@pytest.mark.parametrize(
    ("named", "targets"),
    [
        (r"model.layers.[\d]+.(mlp|self_attn).(up|down|q)_proj", ("down_proj", "q_proj", "up_proj")),
        (r"model\.layers\.\d+\.self_attn\.(k|v)_proj", ("k_proj", "v_proj")),
        (r".*_proj", None),
        (r"nothing\.of\.this", None),
        ("all-linear", None),
        (["q_proj"], ("q_proj",)),
    ],
)
def test_a_pattern_of_layers_counts_the_layers_it_matches(named: str | list[str], targets: tuple[str, ...] | None) -> None:
    adapter = step(adapter="lora", lora_r=8, lora_alpha=8, lora_target_modules=named).workload.adapter
    assert adapter is not None
    assert adapter.targets == targets
