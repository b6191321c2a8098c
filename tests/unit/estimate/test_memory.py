"""Memory: what must hold for every workload, and figures that others have measured."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from launcher.estimate.architectures import facts_from_config
from launcher.estimate.card import on_card, verdict_of
from launcher.estimate.facts import ModelFacts
from launcher.estimate.known_models import known_config
from launcher.estimate.memory import peak_of
from launcher.estimate.optimizer_kinds import KINDS
from launcher.estimate.peak import TERMS
from launcher.estimate.workload import Adapter, Sharding, Workload

MODELS = [
    "meta-llama/Llama-3.1-8B",
    "Qwen/Qwen2.5-0.5B",
    "gpt2",
    "google/gemma-2-2b",
    "Qwen/Qwen3-30B-A3B",
    "tiiuae/falcon-7b",
    "deepseek-ai/DeepSeek-V2-Lite",
]


def facts_of(model: str) -> ModelFacts:
    return facts_from_config(known_config(model) or {}, name=model)


adapters = st.one_of(
    st.none(),
    st.builds(
        Adapter,
        rank=st.integers(1, 128),
        targets=st.sampled_from([None, ("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")]),
        dropout=st.sampled_from([0.0, 0.1]),
        magnitude=st.booleans(),
    ),
)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    adapter = draw(adapters)
    wide = draw(st.booleans())
    return Workload(
        adapter=adapter,
        quantization="none" if adapter is None else draw(st.sampled_from(["none", "nf4", "nf4-dq", "int8"])),
        weight_bytes=4 if wide else 2,
        residual_bytes=4 if wide else 2,
        compute_bytes=4 if wide else 2,
        autocast=not wide,
        optimizer=draw(st.sampled_from([*KINDS, "something_new"])),
        micro_batch=draw(st.integers(1, 16)),
        sequence=draw(st.integers(16, 16384)),
        accumulation=draw(st.sampled_from([1, 4])),
        checkpointing=draw(st.sampled_from(["none", "selective", "attention", "full", "offload"])),
        attention=draw(st.sampled_from(["flash", "sdpa", "eager"])),
        masked=draw(st.booleans()),
        loss=draw(
            st.sampled_from(
                ["labels", "policy", "upcast", "fp32", "dropped", "in-place", "compiled-outputs", "parts", "fused", "cut", "chunked"]
            )
        ),
        loss_parts=draw(st.integers(1, 16)),
        evaluates=draw(st.booleans()),
        pairs=draw(st.sampled_from([1, 2])),
        generated=draw(st.sampled_from([0, 8])),
        compiled=draw(st.booleans()),
        fused=frozenset(draw(st.sets(st.sampled_from(["norm", "glu", "lora_qkv", "lora_o", "lora_mlp"])))),  # type: ignore[arg-type]
        trained_share=1.0 if adapter is not None else draw(st.sampled_from([0.1, 1.0])),
        mlp_pieces=draw(st.sampled_from([1, 4])),
        gradient_means=draw(st.booleans()),
        context_parallel=draw(st.sampled_from([1, 2])),
        tensor_parallel=draw(st.sampled_from([1, 2])),
    )


def gib(model: str, workload: Workload) -> float:
    return peak_of(facts_of(model), workload).tensors_gib


@settings(deadline=None, max_examples=150)
@given(model=st.sampled_from(MODELS), workload=workloads(), more=st.integers(1, 4000))
def test_memory_never_falls_when_a_step_grows(model: str, workload: Workload, more: int) -> None:
    before = gib(model, workload)
    assert gib(model, replace(workload, sequence=workload.sequence + more)) >= before
    assert gib(model, replace(workload, micro_batch=workload.micro_batch + 1)) >= before
    assert gib(model, replace(workload, accumulation=workload.accumulation + 1)) >= before
    assert gib(model, replace(workload, evaluates=True, evaluation_batch=workload.evaluation_batch + 1)) >= before
    assert gib(model, replace(workload, generated=workload.generated + 1)) >= before
    if workload.adapter is not None:
        larger = replace(workload.adapter, rank=workload.adapter.rank + 1)
        assert gib(model, replace(workload, adapter=larger)) >= before


@settings(deadline=None, max_examples=100)
@given(
    model=st.sampled_from(MODELS),
    workload=workloads(),
    kind=st.sampled_from(["fsdp", "zero1", "zero2", "zero3"]),
    gpus=st.integers(1, 64),
    more=st.integers(1, 64),
)
def test_sharding_over_more_cards_never_needs_more_on_each(model: str, workload: Workload, kind: str, gpus: int, more: int) -> None:
    assume(kind != "zero3" or gpus > 1)  # one card gathers nothing
    few = replace(workload, sharding=Sharding(kind=kind, gpus=gpus))  # type: ignore[arg-type]
    many = replace(workload, sharding=Sharding(kind=kind, gpus=gpus + more))  # type: ignore[arg-type]
    assert gib(model, many) <= gib(model, few) * (1 + 1e-12)
    for part in ("offload", "offload_states"):
        offloaded = replace(few, sharding=replace(few.sharding, **{part: True}))
        # What is in host memory comes back a few layers at a time, which one card alone never needed.
        assert gpus == 1 or gib(model, offloaded) <= gib(model, few) * (1 + 1e-12)


@settings(deadline=None, max_examples=100)
@given(model=st.sampled_from(MODELS), workload=workloads(), cards=st.integers(2, 8))
def test_splitting_rows_or_layers_never_needs_more_on_each_card(model: str, workload: Workload, cards: int) -> None:
    whole = gib(model, workload)
    assert gib(model, replace(workload, context_parallel=workload.context_parallel * cards)) <= whole * (1 + 1e-12)
    assert gib(model, replace(workload, tensor_parallel=workload.tensor_parallel * cards)) <= whole * (1 + 1e-12)


@settings(deadline=None, max_examples=80)
@given(workload=workloads())
def test_a_larger_model_of_the_same_family_needs_more(workload: Workload) -> None:
    # Eager attention's scores follow the number of heads, of which the 0.5B has more than the 1.5B; the 7B's MLP is wider than the 14B's.
    workload = replace(workload, attention="flash")
    sizes = [gib(f"Qwen/Qwen2.5-{size}", workload) for size in ("0.5B", "1.5B", "3B", "14B", "32B")]
    assert sizes == sorted(sizes)


@settings(deadline=None, max_examples=80)
@given(model=st.sampled_from(MODELS), workload=workloads())
def test_the_peak_is_a_maximum_whose_terms_add_up(model: str, workload: Workload) -> None:
    peak = peak_of(facts_of(model), workload)
    assert peak.tensors_gib == pytest.approx(sum(peak.breakdown_gib.values()))
    assert set(peak.breakdown_gib) == set(TERMS)
    assert all(value >= 0 for value in peak.breakdown_gib.values())
    assert peak.tensors_gib == max(phase.total for phase in peak.phases) / 2**30


BASE = Workload(sequence=2048, micro_batch=2, evaluates=False)
LORA = replace(BASE, adapter=Adapter(rank=16))


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (replace(BASE, checkpointing="full"), BASE),
        (replace(LORA, checkpointing="offload"), replace(LORA, checkpointing="full")),
        (replace(LORA, loss="fused", checkpointing="full"), replace(LORA, checkpointing="full")),
        (replace(BASE, optimizer="adamw_bnb_8bit", sequence=128), replace(BASE, sequence=128)),
        (replace(BASE, sequence=128), replace(BASE, optimizer="adamw_torch", sequence=128)),
        (LORA, BASE),
        (replace(LORA, quantization="nf4"), LORA),
        (replace(LORA, quantization="nf4-dq"), replace(LORA, quantization="nf4")),
        (replace(LORA, adapter=Adapter(rank=16, targets=("q_proj", "v_proj"))), LORA),
        (LORA, replace(LORA, adapter=Adapter(rank=16, dropout=0.1))),
        (LORA, replace(LORA, adapter=Adapter(rank=16, saved_modules=("lm_head",)))),
        (replace(BASE, checkpointing="full"), replace(BASE, checkpointing="full", attention="eager", sequence=4096)),
        (BASE, replace(BASE, masked=True)),
        (BASE, replace(BASE, reference_model=True)),
        (BASE, replace(BASE, pairs=2)),
        (BASE, replace(BASE, sharding=Sharding(kind="ddp", gpus=2), sequence=4096)),
    ],
)
def test_each_setting_moves_memory_the_right_way(less: Workload, more: Workload) -> None:
    assert gib("meta-llama/Llama-3.1-8B", less) < gib("meta-llama/Llama-3.1-8B", more)


# Peaks of torch's allocator on a T4, HF transformers with bitsandbytes nf4, LoRA on q, k, v, o, gradient checkpointing, one length:
# fitcheck-llm 0.3.1 (MIT), rows fitc-06, -57, -61, -37, -73, -77 of benchmarks/data/memory_measured.csv.
@pytest.mark.parametrize(
    ("model", "rank", "batch", "sequence", "measured"),
    [
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 32, 2, 2048, 3.8057),
        ("HuggingFaceTB/SmolLM2-1.7B", 32, 1, 2048, 3.2673),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 32, 12, 1024, 9.1521),
        ("HuggingFaceTB/SmolLM2-360M", 32, 1, 4096, 3.9237),
        ("Qwen/Qwen2.5-Coder-1.5B-Instruct", 16, 1, 1024, 4.1359),
        ("meta-llama/Llama-3.2-3B-Instruct", 16, 1, 1024, 5.3662),
    ],
)
def test_peaks_measured_by_others_are_met_within_two_percent(model: str, rank: int, batch: int, sequence: int, measured: float) -> None:
    workload = Workload(
        adapter=Adapter(rank=rank, targets=("q_proj", "k_proj", "v_proj", "o_proj")),
        quantization="nf4",
        residual_bytes=4,
        optimizer="adamw_torch",
        micro_batch=batch,
        sequence=sequence,
        checkpointing="full",
        attention="flash",
        loss="fp32",
        holds_logits=True,
    )
    assert gib(model, workload) == pytest.approx(measured, rel=0.02)


def test_full_bf16_training_peaks_at_ten_bytes_a_parameter_with_foreach_adamw() -> None:
    """Weights 2, gradients 2, states 4 and one copy 2, at a sequence too short for activations to matter."""
    facts = facts_of("meta-llama/Llama-3.1-8B")
    peak = peak_of(facts, Workload(optimizer="adamw_torch", sequence=16))
    assert peak.phase.name == "optimizer step"
    assert peak.tensors_gib * 2**30 / facts.parameters == pytest.approx(10.0, rel=0.001)


def test_fully_sharded_training_holds_twenty_bytes_a_parameter_over_the_cards() -> None:
    """fp32 weights, gradients, two states and a copy at the step: 37.4 GiB measured for Llama-3-8B on four cards."""
    facts = facts_of("meta-llama/Llama-3.1-8B")
    step = next(
        phase
        for phase in peak_of(
            facts, Workload(optimizer="adamw_torch", sequence=16, sharding=Sharding(kind="fsdp", gpus=4, version=1))
        ).phases
        if phase.name == "optimizer step"
    )
    assert step.total / 2**30 == pytest.approx(37.4, rel=0.01)


def test_the_verdict_follows_the_high_end() -> None:
    held = on_card(10.0, gpus=1, packed=True, capability=8.0)
    assert held.low < held.value < held.high
    assert verdict_of(held, held.high + 0.01) == "fits"
    assert verdict_of(held, (held.value + held.high) / 2) == "tight"
    assert verdict_of(held, held.value - 0.01) == "does-not-fit"


def test_several_cards_need_room_for_their_collectives() -> None:
    alone = on_card(10.0, gpus=1, packed=True, capability=8.0)
    together = on_card(10.0, gpus=2, packed=True, capability=8.0)
    assert together.value > alone.value


LLAMA = "meta-llama/Llama-3.1-8B"


def test_full_training_in_16_bit_peaks_at_ten_bytes_a_parameter() -> None:
    # Measured by others for HF's Trainer with foreach AdamW: 2 weights, 2 gradients, 4 states, 2 of the step.
    facts = facts_of("mistralai/Mistral-7B-v0.1")
    peak = peak_of(facts, Workload(optimizer="adamw_torch", sequence=4096, checkpointing="full", attention="flash"))
    assert peak.phase.name == "optimizer step"
    assert peak.phase.total / facts.parameters == pytest.approx(10.0, abs=0.05)


@pytest.mark.parametrize(("gpus", "measured_gib"), [(2, 74.8), (4, 37.4)])
def test_fully_sharded_training_under_mixed_precision_as_measured(gpus: int, measured_gib: float) -> None:
    workload = Workload(
        optimizer="adamw_torch",
        sequence=4096,
        checkpointing="full",
        attention="flash",
        sharding=Sharding(kind="fsdp", gpus=gpus, version=1),
    )
    assert peak_of(facts_of(LLAMA), workload).tensors_gib == pytest.approx(measured_gib, rel=0.005)


def test_less_is_kept_the_more_is_computed_again() -> None:
    plain = Workload(sequence=4096, micro_batch=4, attention="flash", loss="fused")
    sizes = [
        peak_of(facts_of(LLAMA), replace(plain, **changes)).tensors_gib
        for changes in ({}, {"compiled": True}, {"checkpointing": "selective"}, {"checkpointing": "full"}, {"checkpointing": "offload"})
    ]
    plainly, compiled, selective, full, offloaded = sizes
    assert plainly > max(compiled, selective)
    assert min(compiled, selective) > full >= offloaded


def test_paged_states_are_not_the_allocators() -> None:
    peaks = [
        peak_of(facts_of(LLAMA), Workload(optimizer=name, checkpointing="full", attention="flash")).tensors_gib
        for name in ("paged_adamw_8bit", "adamw_bnb_8bit")
    ]
    assert peaks[0] < peaks[1] - 10


def test_a_step_inside_the_backward_pass_frees_the_gradients() -> None:
    workload = Workload(optimizer="lomo", checkpointing="full", attention="flash")
    held, freed = (peak_of(facts_of(LLAMA), replace(workload, steps_in_backward=inside)).tensors_gib for inside in (False, True))
    assert held - freed > 10


def test_a_cross_entropy_in_place_lies_between_the_plain_one_and_none() -> None:
    peaks = [
        peak_of(
            facts_of(LLAMA), Workload(adapter=Adapter(rank=8), sequence=8192, checkpointing="full", attention="flash", loss=loss)
        ).tensors_gib
        for loss in ("upcast", "in-place", "fused")
    ]
    assert peaks[0] > peaks[1] > peaks[2]
