"""Terms that were counted on the live tensors of real steps: each of them follows the shapes it was derived from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from launcher.estimate.activations import saved_bytes
from launcher.estimate.architectures import facts_from_config
from launcher.estimate.facts import ModelFacts
from launcher.estimate.logits import loss_bytes
from launcher.estimate.memory import peak_of
from launcher.estimate.weights import adapter_parameters
from launcher.estimate.workload import Adapter, Workload

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 32_768,
}
CPU = Workload(device="cpu", weight_bytes=4, residual_bytes=4, compute_bytes=4, autocast=False, micro_batch=2, sequence=256, foreach=False)


def facts_of(**changes: Any) -> ModelFacts:
    return facts_from_config(LLAMA | changes)


def saved(facts: ModelFacts, workload: Workload) -> float:
    return saved_bytes(facts, facts.blocks[0][1], workload)


def test_the_chunked_loss_holds_one_part_and_three_gradients_of_a_trained_head() -> None:
    facts, chunked = facts_of(), replace(CPU, loss="chunked")
    states, head = 512 * 512 * 4, 32_768 * 512 * 4
    assert loss_bytes(facts, replace(chunked, adapter=Adapter(rank=8))) == states + 64 * 32_768 * 12
    assert loss_bytes(facts, replace(chunked, adapter=Adapter(rank=8), loss_parts=16)) == states + 32 * 32_768 * 12
    assert loss_bytes(facts, chunked) == states + 3 * head


def test_dora_keeps_two_products_of_every_target() -> None:
    facts = facts_of()
    plain, dora = (replace(CPU, adapter=Adapter(rank=8, magnitude=magnitude)) for magnitude in (False, True))
    assert saved(facts, dora) - saved(facts, plain) == 2 * 4 * (2 * 512 + 2 * 256 + 2 * 1408 + 512)


def test_dropout_gives_every_target_an_input_of_its_own() -> None:
    facts = facts_of()
    plain, dropped = (replace(CPU, adapter=Adapter(rank=8, dropout=dropout)) for dropout in (0.0, 0.1))
    masks = 4 * (4 * 512 + 2 * 512 + 1408)
    assert saved(facts, dropped) - saved(facts, plain) == masks + 4 * 3 * 512


def test_a_model_that_drops_probabilities_holds_them_on_a_cpu_alone() -> None:
    config = {"model_type": "gpt2", "n_embd": 512, "n_layer": 4, "n_head": 8, "vocab_size": 4096, "n_positions": 1024}
    drops, keeps = facts_from_config(config), facts_from_config(config | {"attn_pdrop": 0.0})
    # Probabilities, mask and what is left, and no log-sum.
    assert saved(drops, CPU) - saved(keeps, CPU) == 4 * 3 * 8 * 256 - 4 * 8
    cuda = replace(CPU, device="cuda")
    assert saved(drops, cuda) == saved(keeps, cuda)
    silent = facts_from_config(config | {"resid_pdrop": 0.0})
    assert (saved(drops, CPU) - saved(silent, CPU), saved(drops, cuda) - saved(silent, cuda)) == (2 * 512 * 4, 2 * 512)


def test_all_linear_reaches_the_experts_of_a_mixture_where_peft_knows_them() -> None:
    mixture = {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 352, "head_dim": 64}
    facts = facts_of(**mixture)
    attention = 16 * (2 * (512 + 512) + 2 * (512 + 256))
    experts = 16 * 8 * ((512 + 704) + (352 + 512)) + 16 * (512 + 8)
    assert adapter_parameters(facts, Adapter(rank=16)) == 4 * (attention + experts)
    assert adapter_parameters(facts, Adapter(rank=16, targets=("q_proj", "k_proj", "v_proj", "o_proj"))) == 4 * attention
    whole = peak_of(facts, replace(CPU, adapter=Adapter(rank=16)))
    again = peak_of(facts, replace(CPU, adapter=Adapter(rank=16), checkpointing="full"))
    kept = 4 * 8 * (512 * 704 + 352 * 512) * 4
    assert next(phase for phase in whole.phases if phase.name == "logits").terms["buffers"] >= kept
    assert next(phase for phase in again.phases if phase.name == "logits").terms["buffers"] < kept


def test_saving_attention_alone_keeps_a_layers_input_and_attentions_result() -> None:
    facts, lora = facts_of(), replace(CPU, adapter=Adapter(rank=8))
    stored = {
        kind: next(phase for phase in peak_of(facts, replace(lora, checkpointing=kind)).phases if phase.name == "logits").terms[
            "activations"
        ]
        for kind in ("full", "attention", "none")
    }
    assert stored["attention"] - stored["full"] == 512 * 4 * (512 * 4 + 8 * 4)
    assert stored["attention"] < stored["none"]
