"""Calibration: what earlier runs measured moves an estimate to where it should have been, and says how sure it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.estimate.calibration import Comparison, Lesson, calibrated
from launcher.estimate.estimate import Estimate, estimate
from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import Hardware, cards
from launcher.estimate.model_source import find_model
from launcher.estimate.range import exactly
from launcher.estimate.rows import DataSize
from runtime.config.schema import TrainingConfig

DATA = DataSize(rows=exactly(10_000), tokens=exactly(4_000_000), longest=2048, basis="counted")


def made(gpus: str | None = "A100-80GB:1", *, processes: int = 1, **options: object) -> Estimate:
    config = TrainingConfig.model_validate(
        {
            "base_model": "meta-llama/Llama-3.1-8B",
            "learning_rate": 1e-4,
            "datasets": [{"path": "x", "type": "alpaca"}],
            "adapter": "lora",
            "lora_r": 16,
            "lora_alpha": 16,
            "lora_target_linear": True,
            "bf16": True,
            "sequence_len": 2048,
            "sample_packing": True,
            "flash_attention": True,
            "gradient_checkpointing": True,
            **options,
        }
    )
    hardware = (
        cards(parse_gpus(gpus)) if gpus else Hardware(name="this machine", capacity_gib=64, cores=8, processes=processes, rented=False)
    )
    return estimate(config, find_model(config.base_model, environment={}), hardware, DATA)


def lesson(estimate: Estimate, *, speed: float = 1.0, memory: float = 1.0) -> Lesson:
    assert estimate.time is not None
    processes = estimate.hardware.processes
    expected = estimate.memory.peak.tensors_gib if estimate.hardware.gpus is not None else estimate.memory.held.value / processes
    speed *= estimate.time.tokens_per_s_per_gpu.value
    return Comparison(estimate=estimate, tokens_per_s=speed, peak_gib=expected * memory).lesson


def test_without_similar_runs_nothing_changes() -> None:
    here = made()
    assert calibrated(here, []) == here
    assert calibrated(here, [lesson(made("H100:1"), speed=2.0)]) == here
    assert calibrated(here, [lesson(made(adapter=None, lora_r=None, lora_alpha=None, lora_target_linear=None), speed=2.0)]) == here


def test_a_twin_moves_the_estimate_to_what_it_measured() -> None:
    here = made()
    learnt = calibrated(here, [lesson(here, speed=1.3, memory=0.9)])
    assert here.time is not None
    assert learnt.time is not None
    assert learnt.time.tokens_per_s_per_gpu.value == pytest.approx(1.3 * here.time.tokens_per_s_per_gpu.value)
    assert learnt.time.training_h.value == pytest.approx(here.time.training_h.value / 1.3)
    assert here.time.hours.value - learnt.time.hours.value == pytest.approx(here.time.training_h.value - learnt.time.training_h.value)
    assert learnt.memory.held.value < here.memory.held.value
    assert learnt.time.basis == "1 run, ±15%"
    assert learnt.memory.held.basis == "1 run, ±5%"


def test_more_runs_that_agree_narrow_the_range_and_runs_that_do_not_widen_it() -> None:
    here = made()

    def width(factors: list[float]) -> float:
        speed = calibrated(here, [lesson(here, speed=factor) for factor in factors]).time
        assert speed is not None
        return speed.tokens_per_s_per_gpu.high / speed.tokens_per_s_per_gpu.low

    assert width([1.2] * 9) < width([1.2] * 4) < width([1.2])
    assert width([1.0, 1.5, 1.2, 0.8]) > width([1.2])


def test_another_model_on_the_same_card_teaches_speed_alone_and_less() -> None:
    here = made()
    other = lesson(made(base_model="Qwen/Qwen2.5-7B"), speed=1.2, memory=2.0)
    learnt = calibrated(here, [other])
    assert learnt.memory == here.memory
    assert learnt.time is not None
    assert learnt.time.basis == "1 run of other models, ±30%"
    both = calibrated(here, [other, lesson(here, speed=0.9)])
    assert both.time is not None
    assert both.time.basis == "1 run, ±15%"


def test_a_figure_beyond_reason_is_no_lesson() -> None:
    here = made()
    assert calibrated(here, [lesson(here, speed=20.0, memory=0.01)]) == here
    slow = made(None, base_model="HuggingFaceTB/SmolLM2-135M", bf16=False, flash_attention=None)
    assert calibrated(slow, [lesson(slow, speed=0.06)]).time != slow.time
    assert calibrated(slow, [lesson(slow, speed=0.01)]).time == slow.time


@pytest.mark.parametrize("processes", [1, 2])
def test_on_a_processor_the_resident_set_of_every_process_counts(processes: int) -> None:
    here = made(None, base_model="HuggingFaceTB/SmolLM2-135M", bf16=False, flash_attention=None, processes=processes)
    learnt = calibrated(here, [lesson(here, memory=1.2)])
    assert learnt.memory.held.value == pytest.approx(1.2 * here.memory.held.value)
    assert learnt.memory.held.high == pytest.approx(1.1 * 1.2 * here.memory.held.value)
    assert learnt.memory.held.basis == "1 run, ±10%"
    # A resident set says nothing of the tensors alone.
    assert learnt.memory.peak == here.memory.peak
    assert calibrated(replace(here, hardware=replace(here.hardware, cores=2)), [lesson(here, memory=1.2)]).memory == here.memory


def test_the_corrected_tensors_and_what_vllm_holds_stay_in_the_figure() -> None:
    here = made()
    learnt = calibrated(here, [lesson(here, memory=0.8)])
    assert learnt.memory.peak.tensors_gib == pytest.approx(0.8 * here.memory.peak.tensors_gib)
    assert sum(learnt.memory.peak.breakdown_gib.values()) == pytest.approx(learnt.memory.peak.tensors_gib)
    beside = replace(here, step=replace(here.step, workload=replace(here.step.workload, colocated_share=0.3)))
    assert calibrated(beside, [lesson(beside)]).memory.held.value == pytest.approx(here.memory.held.value + 0.3 * 79.15)


def test_a_run_that_only_measured_its_peak_teaches_that() -> None:
    made_here = made()
    probed = Comparison(estimate=made_here, tokens_per_s=None, peak_gib=made_here.memory.peak.tensors_gib * 1.1).lesson
    learnt = calibrated(made_here, [probed])
    assert learnt.time == made_here.time
    assert learnt.memory.held.value > made_here.memory.held.value


def test_saves_by_the_clock_follow_the_corrected_length() -> None:
    here = made(launch={"storage": "s3://bucket/run"}, max_steps=2000)
    slow = calibrated(here, [lesson(here, speed=0.5)])
    assert (here.saves.when, slow.saves.when) == ("clock", "clock")
    assert slow.saves.count > 1.5 * here.saves.count
    assert slow.saves.every_h == here.saves.every_h
    by_steps = calibrated(made(save_steps=100, max_steps=2000), [lesson(made(save_steps=100, max_steps=2000), speed=0.5)])
    assert by_steps.saves.count == 20
    assert by_steps.saves.every_h == pytest.approx(2 * made(save_steps=100, max_steps=2000).saves.every_h)  # type: ignore[operator]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.2, 4), st.floats(0.2, 4)), max_size=6))
def test_ranges_stay_in_order(factors: list[tuple[float, float]]) -> None:
    here = made()
    learnt = calibrated(here, [lesson(here, speed=speed, memory=memory) for speed, memory in factors])
    assert learnt.time is not None
    for figure in (learnt.memory.held, learnt.time.hours, learnt.time.tokens_per_s_per_gpu):
        assert 0 < figure.low <= figure.value <= figure.high
