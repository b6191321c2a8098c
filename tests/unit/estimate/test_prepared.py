"""Counts of an earlier preparation are taken for those of the same recipe, and for no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.estimate.rows import COUNTED, data_size
from launcher.estimate.steps import steps_of
from runtime.config.data_key import data_key, note_of, prepared_folder
from runtime.config.schema import TrainingConfig

REPORT = {"train_rows": 90, "tokens": 12_800, "longest": 77, "packed_rows": 110}


@pytest.fixture
def recipe(tmp_path: Path) -> TrainingConfig:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": "w" * 40}) + "\n" for _ in range(100)), encoding="utf-8")
    return TrainingConfig.model_validate(
        {
            "base_model": "org/model",
            "learning_rate": 0.001,
            "datasets": [{"path": str(rows), "type": "completion"}],
            "dataset_prepared_path": str(tmp_path / "prepared"),
            "sequence_len": 128,
            "sample_packing": True,
            "micro_batch_size": 2,
            "num_epochs": 2,
        }
    )


def prepared(config: TrainingConfig, report: Any) -> Path:
    note = note_of(prepared_folder(config.dataset_prepared_path), data_key(config))
    folder = note.parent / "abc"
    folder.mkdir(parents=True)
    note.write_text("abc", encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return folder / "report.json"


def test_the_counts_of_the_same_recipe_are_exact(recipe: TrainingConfig) -> None:
    assert data_size(recipe, vocab=32_000).basis != COUNTED
    prepared(recipe, REPORT)
    size = data_size(recipe, vocab=32_000)
    assert (size.rows.value, size.tokens.low, size.tokens.high, size.longest, size.basis) == (90, 12_800, 12_800, 77, COUNTED)
    steps = steps_of(recipe, size, processes=1)
    # 110 packed rows in micro batches of two: 55 steps an epoch, without a spread.
    assert (steps.steps, steps.low, steps.high) == (110, 110, 110)
    assert steps.tokens.value == pytest.approx(2 * 12_800)


def test_unpacked_rows_take_as_many_steps_as_there_are(recipe: TrainingConfig) -> None:
    plain = recipe.model_copy(update={"sample_packing": None})
    prepared(plain, REPORT | {"packed_rows": None})
    assert steps_of(plain, data_size(plain, vocab=32_000), processes=1).steps == 90


def test_another_recipe_and_a_changed_file_do_not_match(recipe: TrainingConfig) -> None:
    prepared(recipe, REPORT)
    for update in ({"sequence_len": 64}, {"base_model": "org/other"}, {"sample_packing": False}):
        assert data_size(recipe.model_copy(update=update), vocab=32_000).basis != COUNTED
    assert recipe.datasets is not None
    with Path(str(recipe.datasets[0].path)).open("a", encoding="utf-8") as stream:
        stream.write('{"text": "more"}\n')
    size = data_size(recipe, vocab=32_000)
    assert (size.basis != COUNTED, size.rows.value) == (True, 101)


@pytest.mark.parametrize(
    "report", ["{half", "[]", '{"train_rows": 3}', '{"train_rows": null, "tokens": 1, "longest": 1, "packed_rows": 1}']
)
def test_a_report_that_cannot_be_read_is_passed_over(recipe: TrainingConfig, report: str) -> None:
    prepared(recipe, REPORT).write_text(report, encoding="utf-8")
    assert data_size(recipe, vocab=32_000).rows.value == 100


def test_rows_that_were_removed_are_counted_again(recipe: TrainingConfig) -> None:
    prepared(recipe, REPORT).unlink()
    assert data_size(recipe, vocab=32_000).rows.value == 100
