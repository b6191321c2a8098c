from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.estimate.range import Range, exactly
from launcher.estimate.rows import UNKNOWN, DataSize
from launcher.estimate.steps import steps_of
from runtime.config.schema import TrainingConfig


def config_of(**settings: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {"base_model": "x/y", "learning_rate": 1e-3, "datasets": [{"path": "d", "type": "alpaca"}], **settings}
    )


def data_of(rows: float, tokens: float) -> DataSize:
    return DataSize(rows=exactly(rows), tokens=Range(value=tokens, low=tokens * 0.8, high=tokens * 1.5), longest=100, basis="")


def test_unpacked_steps_are_rows_over_the_global_batch_rounded_up_like_the_trainer_does() -> None:
    config = config_of(micro_batch_size=4, gradient_accumulation_steps=8, num_epochs=3)
    # 1001 rows on 2 processes: 126 micro batches each, 16 steps an epoch.
    assert steps_of(config, data_of(1001, 50_000), processes=2).steps == 48


def test_packed_steps_follow_tokens_and_not_rows() -> None:
    config = config_of(micro_batch_size=2, sample_packing=True, sequence_len=1000, num_epochs=1)
    steps = steps_of(config, data_of(100_000, 1_000_000), processes=1)
    assert steps.steps == pytest.approx(1_000_000 / 0.96 / 2000, rel=0.01)
    assert steps.low < steps.steps < steps.high


def test_max_steps_is_exact_whatever_the_data() -> None:
    config = config_of(max_steps=120, save_steps=30)
    for data in (data_of(10, 1000), UNKNOWN):
        steps = steps_of(config, data, processes=1)
        assert (steps.steps, steps.low, steps.high, steps.known, steps.save_steps) == (120, 120, 120, True, 30)


def test_unknown_data_without_max_steps_gives_no_number() -> None:
    steps = steps_of(config_of(), UNKNOWN, processes=1)
    assert (steps.known, steps.steps) == (False, 0)


@given(
    rows=st.integers(1, 10**6),
    each=st.integers(2, 4000),
    micro=st.integers(1, 64),
    accumulation=st.integers(1, 32),
    processes=st.integers(1, 64),
    packed=st.booleans(),
)
def test_steps_and_tokens_keep_their_order(rows: int, each: int, micro: int, accumulation: int, processes: int, packed: bool) -> None:
    config = config_of(micro_batch_size=micro, gradient_accumulation_steps=accumulation, sample_packing=packed, sequence_len=4096)
    steps = steps_of(config, data_of(rows, rows * each), processes=processes)
    assert 1 <= steps.low <= steps.steps <= steps.high
    assert 0 < steps.tokens.low <= steps.tokens.value <= steps.tokens.high
    more = steps_of(config, data_of(rows + 1000, (rows + 1000) * each), processes=processes)
    assert more.steps >= steps.steps
