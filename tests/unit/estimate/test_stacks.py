"""What a stack does besides the model's own shape: each term follows from the source that it was read in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launcher.estimate.activations import saved_bytes
from launcher.estimate.architectures import facts_from_config
from launcher.estimate.facts import ModelFacts
from launcher.estimate.logits import loss_bytes
from launcher.estimate.memory import peak_of
from launcher.estimate.peak import Peak
from launcher.estimate.workload import Adapter, Loss, Sharding, Workload

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 32_768,
}
FACTS = facts_from_config(LLAMA)
PLAIN = Workload(attention="flash", autocast=False, sequence=1024)
LORA = Workload(attention="flash", sequence=1024, adapter=Adapter(rank=8))
LORA_16 = replace(LORA, autocast=False, adapter=Adapter(rank=8, parameter_bytes=2))
FULLY_SHARDED = replace(
    PLAIN, autocast=True, optimizer="adamw_torch", checkpointing="full", sharding=Sharding(kind="fsdp", gpus=4, version=2)
)
HEAD = 32_768 * 256


def saved(workload: Workload, facts: ModelFacts = FACTS) -> float:
    return saved_bytes(facts, facts.blocks[0][1], workload)


def phase(peak: Peak, name: str) -> float:
    return next(one.total for one in peak.phases if one.name == name)


@pytest.mark.parametrize(("workload", "plainly", "compiled"), [(PLAIN, 11_288, 7_832), (LORA, 12_424, 8_456), (LORA_16, 10_376, 7_944)])
def test_a_layer_keeps_what_real_ones_save(workload: Workload, plainly: int, compiled: int) -> None:
    """Bytes a token that a Llama layer of this shape saves, eager and partitioned by torch 2.13's compiler; the two norms' fp32 scales are left out."""
    scales = 2 * 4
    assert saved(workload) == plainly - scales
    assert saved(replace(workload, compiled=True)) == compiled - scales


def test_a_compiled_layer_keeps_inputs_of_adapted_matrices_alone() -> None:
    few, all_linear = (replace(LORA, compiled=True, adapter=Adapter(rank=8, targets=targets)) for targets in (("q_proj", "v_proj"), None))
    mlp, attention = 2 * (256 + 704) + 2 * 8 * 3, 2 * 256 + 2 * 8 * 2
    assert saved(all_linear) - saved(few) == mlp + attention


def test_values_that_are_a_view_keep_the_product_of_all_heads() -> None:
    shape = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 32_768}
    phi3 = facts_from_config(shape | {"model_type": "phi3", "num_key_value_heads": 2})
    neox = facts_from_config(shape | {"model_type": "gpt_neox"})
    for facts, unrotated in ((phi3, 256 + 128), (neox, 256 + 256)):
        count, block = facts.blocks[0]
        apart = replace(facts, blocks=((count, replace(block, fused_heads=False)),))
        assert saved(PLAIN, facts) - saved(PLAIN, apart) == 2 * unrotated


def test_a_plain_mlp_keeps_its_activation_only_for_the_matrix_after_it() -> None:
    neox = facts_from_config({**LLAMA, "model_type": "gpt_neox"})
    with_mlp, without = (
        replace(LORA, adapter=Adapter(rank=8, parameter_bytes=2, targets=targets))
        for targets in (("query_key_value", "dense_4h_to_h"), ("query_key_value",))
    )
    assert saved(with_mlp, neox) - saved(without, neox) == 2 * 704 + 2 * 8


def test_keys_repeated_for_every_head() -> None:
    assert saved(replace(PLAIN, repeats_keys=True)) - saved(PLAIN) == 2 * 2 * (256 - 128)
    compiled = replace(PLAIN, compiled=True)
    assert saved(replace(compiled, repeats_keys=True)) - saved(compiled) == 2 * 2 * (256 - 128)


def test_early_bitsandbytes_keeps_the_inputs_of_quantized_matrices() -> None:
    attention_only = Adapter(rank=8, parameter_bytes=2, targets=("q_proj", "v_proj"))
    qlora = replace(LORA, quantization="nf4", adapter=attention_only)
    # The adapters read attention's input as it is; the MLP's two inputs come on top.
    assert saved(replace(qlora, early_quantization=True)) - saved(qlora) == 2 * (256 + 704)
    dropped = replace(qlora, adapter=replace(attention_only, dropout=0.1))
    assert saved(replace(dropped, early_quantization=True)) - saved(dropped) == 2 * (256 + 256 + 704)


@pytest.mark.parametrize(
    ("loss", "each"),
    [("upcast", 14), ("dropped", 12), ("in-place", 8), ("compiled", 4), ("compiled-outputs", 6), ("parts", 2.25), ("fp32-parts", 9)],
)
def test_bytes_of_a_logit_below_a_frozen_head(loss: Loss, each: float) -> None:
    assert loss_bytes(FACTS, replace(LORA, loss=loss)) == 1024 * 32_768 * each


def test_fused_losses_grow_with_the_width_of_the_states_and_not_with_the_vocabulary() -> None:
    states = 1024 * 256 * 2
    assert loss_bytes(FACTS, replace(LORA, loss="cut")) == states
    # As many chunks as the vocabulary is wider, each of 8 rows.
    assert loss_bytes(FACTS, replace(LORA, loss="fused")) == states + 8 * 32_768 * 2
    wider = facts_from_config(LLAMA | {"vocab_size": 2 * 32_768})
    assert loss_bytes(wider, replace(LORA, loss="fused")) == loss_bytes(FACTS, replace(LORA, loss="fused"))
    assert loss_bytes(FACTS, replace(PLAIN, loss="cut")) == states + HEAD * 2


def test_parts_of_a_trained_head_are_added_up() -> None:
    whole = 1024 * 32_768 * 2
    assert loss_bytes(FACTS, replace(PLAIN, loss="parts")) == max(whole + whole / 8, whole * 6 / 8 + 3 * HEAD * 2)


def test_fsdp_2_steps_tensor_by_tensor_and_fsdp_1_all_at_once() -> None:
    steps = {
        version: phase(peak_of(FACTS, replace(FULLY_SHARDED, sharding=replace(FULLY_SHARDED.sharding, version=version))), "optimizer step")
        for version in (1, 2)
    }
    workspace = phase(peak_of(FACTS, replace(FULLY_SHARDED, optimizer="adamw_torch_fused")), "optimizer step")
    assert steps[1] - workspace == FACTS.parameters * 4 / 4
    assert steps[1] > steps[2] > workspace


def test_fsdp_accumulates_whole_gradients_unless_told_to_reduce_each() -> None:
    accumulating = replace(FULLY_SHARDED, accumulation=4)
    each = replace(accumulating, sharding=replace(accumulating.sharding, syncs_each_batch=True))
    kept, reduced = (phase(peak_of(FACTS, workload), "logits") for workload in (accumulating, each))
    assert kept - reduced == FACTS.parameters * (2 - 4 / 4)
    assert phase(peak_of(FACTS, FULLY_SHARDED), "logits") == reduced - FACTS.parameters * 4 / 4


def test_ends_that_are_units_of_their_own_are_not_whole_while_layers_run() -> None:
    apart = replace(FULLY_SHARDED, sharding=replace(FULLY_SHARDED.sharding, ends_apart=True))
    name = "backward, last layer"
    # Embedding and head, and the head's gradient.
    assert phase(peak_of(FACTS, FULLY_SHARDED), name) - phase(peak_of(FACTS, apart), name) == 3 * HEAD * 2


def test_steps_inside_the_backward_pass_copy_one_tensor() -> None:
    inside = peak_of(FACTS, replace(PLAIN, optimizer="adamw_torch", steps_in_backward=True))
    states = FACTS.parameters * (2 + 4)
    assert phase(inside, "optimizer step") == pytest.approx(states + 2 * HEAD * 2, abs=2**25)


def test_quantized_experts_are_whole_one_layer_at_a_time() -> None:
    mixture = facts_from_config(LLAMA | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2})
    qlora = replace(LORA, quantization="nf4", checkpointing="full", adapter=Adapter(rank=8, targets=("q_proj", "v_proj")))
    plain, packed = (peak_of(mixture, replace(qlora, quantized_experts=quantized)) for quantized in (False, True))
    experts = 8 * 3 * 256 * 704
    name = "backward, last layer"
    terms = [next(one.terms for one in peak.phases if one.name == name) for peak in (plain, packed)]
    assert terms[0]["weights"] - terms[1]["weights"] == 4 * experts * (2 - 0.5625)
    assert terms[1]["buffers"] - terms[0]["buffers"] == experts * 2 - 256 * 704 * 2 * 2
