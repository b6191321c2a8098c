"""Going on with other processes: the same rows in the same steps, or a refusal."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.problem import ExitCode, UserError
from runtime.training.cadence import Cadence, cadence_of
from runtime.training.rescale import Made, made_by, rescaled, sentence

RECIPE = {"micro_batch_size": 4, "gradient_accumulation_steps": 2, "batch_size": None, "dataloader_drop_last": None, "max_steps": None}
RECIPE |= {
    "num_epochs": 3,
    "logging_steps": 1,
    "save_steps": 10,
    "save_first_step": None,
    "load_best_model_at_end": None,
    "save_strategy": None,
}
RECIPE |= {"saves_per_epoch": None, "eval_steps": None, "evals_per_epoch": None, "eval_strategy": None}


def begun(processes: int, micro: int, accumulation: int, rows: int) -> tuple[Cadence, Made]:
    """A run's cadence, and what its checkpoint says."""
    config = SimpleNamespace(**RECIPE | {"micro_batch_size": micro, "gradient_accumulation_steps": accumulation})
    cadence = cadence_of(config, rows=rows, world_size=processes, evaluates=False)
    made = Made(
        processes=processes,
        micro_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        counted_for=processes,
        length_group=micro * accumulation,
    )
    return cadence, made


@given(st.integers(1, 8), st.integers(1, 12), st.integers(1, 6), st.integers(1, 8), st.integers(1, 5_000))
def test_every_step_has_the_rows_it_had(processes: int, micro: int, accumulation: int, now: int, rows: int) -> None:
    cadence, made = begun(processes, micro, accumulation, rows)
    if made.step_rows % now:
        with pytest.raises(UserError, match="cannot share"):
            rescaled(cadence, made, rows=rows, world_size=now, drop_last=False)
        return
    there = rescaled(cadence, made, rows=rows, world_size=now, drop_last=False)
    assert there.micro_batch_size * there.gradient_accumulation_steps * now == made.step_rows
    assert there.micro_batch_size <= micro
    batches = math.ceil(rows / (there.micro_batch_size * now))
    assert max(1, math.ceil(batches / there.gradient_accumulation_steps)) == cadence.steps_per_epoch == there.steps_per_epoch
    assert (there.total_steps, there.save_steps, there.length_group) == (cadence.total_steps, cadence.save_steps, made.length_group)


def test_there_and_back_is_where_it_was() -> None:
    cadence, made = begun(1, 4, 2, 100)
    two = rescaled(cadence, made, rows=100, world_size=2, drop_last=False)
    assert (two.micro_batch_size, two.gradient_accumulation_steps, two.counted_for) == (4, 1, 1)
    assert "8 rows" in sentence(made, two, world_size=2)
    again = replace(made, processes=2, gradient_accumulation_steps=1)
    assert rescaled(cadence, again, rows=100, world_size=2, drop_last=False) == two
    back = rescaled(cadence, again, rows=100, world_size=1, drop_last=False)
    assert (back.micro_batch_size, back.gradient_accumulation_steps) == (4, 2)
    assert sentence(again, two, world_size=2) == ""


def test_rows_that_cannot_be_shared_are_a_refusal() -> None:
    cadence, made = begun(2, 1, 1, 100)
    with pytest.raises(UserError, match="divides 2") as caught:
        rescaled(cadence, made, rows=100, world_size=4, drop_last=False)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_a_fresh_start_is_as_the_recipe_says(tmp_path: Path) -> None:
    cadence, _ = begun(1, 4, 2, 100)
    assert made_by(None, SimpleNamespace(**RECIPE), rows=100) is None
    assert made_by(tmp_path, SimpleNamespace(**RECIPE), rows=100) is None
    assert rescaled(cadence, None, rows=100, world_size=1, drop_last=False) is cadence


def test_what_a_checkpoint_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "session.json").write_text(
        json.dumps({"processes": 2, "micro_batch_size": 2, "gradient_accumulation_steps": 4, "counted_for": 1, "length_group": 16})
    )
    made = made_by(tmp_path, SimpleNamespace(**RECIPE), rows=100)
    assert made == Made(processes=2, micro_batch_size=2, gradient_accumulation_steps=4, counted_for=1, length_group=16)
    # One of an earlier version.
    (tmp_path / "session.json").write_text(json.dumps({"processes": 2, "micro_batch_size": 2}))
    made = made_by(tmp_path, SimpleNamespace(**RECIPE), rows=100)
    assert made == Made(processes=2, micro_batch_size=2, gradient_accumulation_steps=4, counted_for=2, length_group=8)
