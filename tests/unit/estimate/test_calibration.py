"""Calibration: what earlier runs measured moves an estimate to where it should have been, and says how sure it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.estimate.calibration import Lesson, calibrated
from launcher.estimate.estimate import Estimate, estimate
from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import Hardware, cards
from launcher.estimate.model_source import find_model
from launcher.estimate.range import exactly
from launcher.estimate.rows import DataSize
from runtime.config.schema import TrainingConfig

DATA = DataSize(rows=exactly(10_000), tokens=exactly(4_000_000), longest=2048, basis="counted")


def made(gpus: str | None = "A100-80GB:1", **options: object) -> Estimate:
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
    hardware = cards(parse_gpus(gpus)) if gpus else Hardware(name="this machine", capacity_gib=64, cores=8, rented=False)
    return estimate(config, find_model(config.base_model, environment={}), hardware, DATA)


def lesson(estimate: Estimate, *, speed: float = 1.0, memory: float = 1.0) -> Lesson:
    assert estimate.time is not None
    expected = estimate.memory.peak.tensors_gib if estimate.hardware.gpus is not None else estimate.memory.held.value
    return Lesson(estimate=estimate, tokens_per_s=estimate.time.tokens_per_s_per_gpu.value * speed, peak_gib=expected * memory)


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
    training = here.time.hours.value - here.time.setup_h.value
    assert learnt.time.hours.value - learnt.time.setup_h.value == pytest.approx(training / 1.3)
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
    assert learnt.time.basis == "1 run, ±30%"
    both = calibrated(here, [other, lesson(here, speed=0.9)])
    assert both.time is not None
    assert both.time.basis == "1 run, ±15%"


def test_a_figure_beyond_reason_is_no_lesson() -> None:
    here = made()
    assert calibrated(here, [lesson(here, speed=20.0, memory=0.01)]) == here


def test_on_a_processor_the_resident_set_counts() -> None:
    here = made(None, base_model="HuggingFaceTB/SmolLM2-135M", bf16=False, flash_attention=None)
    learnt = calibrated(here, [lesson(here, memory=1.2)])
    assert learnt.memory.held.value == pytest.approx(1.2 * here.memory.held.value)
    assert calibrated(replace(here, hardware=replace(here.hardware, cores=2)), [lesson(here, memory=1.2)]).memory == here.memory


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.2, 4), st.floats(0.2, 4)), max_size=6))
def test_ranges_stay_in_order(factors: list[tuple[float, float]]) -> None:
    here = made()
    learnt = calibrated(here, [lesson(here, speed=speed, memory=memory) for speed, memory in factors])
    assert learnt.time is not None
    for figure in (learnt.memory.held, learnt.time.hours, learnt.time.tokens_per_s_per_gpu):
        assert 0 < figure.low <= figure.value <= figure.high
