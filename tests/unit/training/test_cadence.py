"""The beat of a run counts epochs and steps as the Trainer does."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.load import check_text
from runtime.training.cadence import Cadence, cadence_of, smaller_micro_batches

BASE = "base_model: org/m\nlearning_rate: 0.001\nval_set_size: 0.1\ndatasets: [{path: org/d, type: alpaca}]\n"


def cadence(text: str = "", *, rows: int = 100, world_size: int = 1, evaluates: bool = True) -> Cadence:
    checked = check_text(BASE + text, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return cadence_of(checked.config, rows=rows, world_size=world_size, evaluates=evaluates)


def test_an_incomplete_last_group_of_micro_batches_is_a_step() -> None:
    beat = cadence("micro_batch_size: 4\ngradient_accumulation_steps: 3\nnum_epochs: 2\n", rows=101)
    assert (beat.steps_per_epoch, beat.total_steps) == (9, 18)


def test_dropping_the_last_batch_drops_it_on_every_process() -> None:
    assert cadence("micro_batch_size: 4\ndataloader_drop_last: true\n", rows=31, world_size=2).steps_per_epoch == 3
    assert cadence("micro_batch_size: 4\n", rows=31, world_size=2).steps_per_epoch == 4


def test_max_steps_wins_over_epochs() -> None:
    beat = cadence("num_epochs: 3\nmax_steps: 7\n", rows=10)
    assert (beat.total_steps, beat.epochs) == (7, 0.7)


def test_batch_size_gives_the_accumulation() -> None:
    assert cadence("batch_size: 32\nmicro_batch_size: 4\n").gradient_accumulation_steps == 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (100, 100)),
        ("save_steps: 30\neval_steps: 20\n", (30, 20)),
        ("save_steps: 0.25\neval_steps: 0.5\n", (75, 150)),
        ("saves_per_epoch: 4\nevals_per_epoch: 3\n", (25, 33)),
        ("save_strategy: 'no'\neval_strategy: 'no'\n", (0, 0)),
        ("save_strategy: best\n", (0, 100)),
    ],
)
def test_beats(text: str, expected: tuple[int, int]) -> None:
    beat = cadence(text + "num_epochs: 3\n")
    assert (beat.save_steps, beat.eval_steps) == expected


def test_nothing_is_evaluated_without_rows_to_evaluate() -> None:
    beat = cadence("eval_steps: 5\nsave_strategy: best\n", evaluates=False)
    assert (beat.eval_steps, beat.save_best) == (0, False)


def test_where_the_clock_saves_no_step_does_but_the_last() -> None:
    checked = check_text(BASE, file="recipe.yml")
    beat = cadence_of(checked.config, rows=100, world_size=1, evaluates=True, timed_saves=True)
    assert not any(beat.saves_at(step) for step in range(1, beat.total_steps + 1))
    assert beat.saves_last
    assert not cadence("save_strategy: 'no'\n").saves_last


def test_saves_on_the_beat_and_first_if_asked() -> None:
    beat = cadence("save_steps: 3\nsave_first_step: true\n")
    assert [step for step in range(1, 10) if beat.saves_at(step)] == [1, 3, 6, 9]


@given(
    rows=st.integers(1, 10_000),
    micro=st.integers(1, 64),
    accumulation=st.integers(1, 16),
    world=st.integers(1, 8),
    epochs=st.floats(0.1, 5),
)
def test_every_row_is_trained_in_every_epoch(rows: int, micro: int, accumulation: int, world: int, epochs: float) -> None:
    beat = cadence(
        f"micro_batch_size: {micro}\ngradient_accumulation_steps: {accumulation}\nnum_epochs: {epochs!r}\n", rows=rows, world_size=world
    )
    a_step = micro * accumulation * world
    assert rows <= beat.steps_per_epoch * a_step < rows + a_step + micro * world
    assert beat.total_steps == max(1, math.ceil(epochs * beat.steps_per_epoch))


def test_smaller_micro_batches_are_divisors_with_as_many_more_of_them() -> None:
    beat = cadence("micro_batch_size: 12\ngradient_accumulation_steps: 2\n")
    found = list(smaller_micro_batches(beat, rows=100, world_size=1, drop_last=False))
    assert [(one.micro_batch_size, one.gradient_accumulation_steps) for one in found] == [(6, 4), (4, 6), (3, 8), (2, 12), (1, 24)]
    assert all(one.lowered for one in found)
    assert list(smaller_micro_batches(found[-1], rows=100, world_size=1, drop_last=False)) == []


@given(
    rows=st.integers(1, 500),
    micro=st.integers(1, 24),
    accumulation=st.integers(1, 5),
    world_size=st.integers(1, 4),
    drop_last=st.booleans(),
)
def test_a_smaller_micro_batch_changes_no_step(rows: int, micro: int, accumulation: int, world_size: int, drop_last: bool) -> None:
    def text(micro: int, accumulation: int) -> str:
        return f"micro_batch_size: {micro}\ngradient_accumulation_steps: {accumulation}\ndataloader_drop_last: {str(drop_last).lower()}\n"

    beat = cadence(text(micro, accumulation), rows=rows, world_size=world_size)
    for smaller in smaller_micro_batches(beat, rows=rows, world_size=world_size, drop_last=drop_last):
        asked = cadence(text(smaller.micro_batch_size, smaller.gradient_accumulation_steps), rows=rows, world_size=world_size)
        assert (asked.steps_per_epoch, asked.total_steps, asked.save_steps) == (beat.steps_per_epoch, beat.total_steps, beat.save_steps)
        assert smaller.micro_batch_size * smaller.gradient_accumulation_steps == micro * accumulation
