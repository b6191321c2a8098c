"""A laptop's name for the rows a recipe prepares: the same from everywhere, another as soon as anything changes that tokens follow from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from runtime.config.data_key import ROW_OPTIONS, TEXT_OPTIONS, data_key
from runtime.config.effects import table
from runtime.config.schema import TrainingConfig


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "rows.jsonl").write_text('{"text": "one"}\n', encoding="utf-8")
    (tmp_path / "chat.jinja").write_text("{{ messages }}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(**options: Any) -> TrainingConfig:
    given = {"base_model": "model", "learning_rate": 0.001, "datasets": [{"path": "rows.jsonl", "type": "completion"}]}
    return TrainingConfig.model_validate(given | options)


def test_what_does_not_change_rows_does_not_change_the_key(place: Path) -> None:
    key = data_key(recipe())
    assert data_key(recipe(learning_rate=0.5, adapter="lora", micro_batch_size=8, output_dir="elsewhere", dataset_num_proc=2)) == key
    whole = recipe(base_model=str(place / "model"))
    assert data_key(whole) == key
    (place / "model" / "model.safetensors").write_bytes(b"other weights")
    assert data_key(recipe()) == key


@pytest.mark.parametrize(
    "options",
    [
        {"sequence_len": 64},
        {"sample_packing": True},
        {"val_set_size": 0.1},
        {"seed": 7},
        {"min_sample_len": 9},
        {"base_model": "org/other"},
        {"tokenizer_config": "org/other"},
        {"special_tokens": {"pad_token": "<pad>"}},
        {"chat_template": "chatml"},
        {"datasets": [{"path": "rows.jsonl", "type": "completion", "field": "content"}]},
        {"datasets": [{"path": "rows.jsonl", "type": "completion"}] * 2},
        {"test_datasets": [{"path": "rows.jsonl", "type": "completion"}]},
    ],
    ids=str,
)
def test_what_changes_rows_changes_the_key(place: Path, options: dict[str, Any]) -> None:
    assert data_key(recipe(**options)) != data_key(recipe())


@pytest.mark.parametrize("name", ["rows.jsonl", "model/tokenizer.json", "chat.jinja"])
def test_a_changed_file_changes_the_key(place: Path, name: str) -> None:
    config = recipe(chat_template_jinja="chat.jinja")
    before = data_key(config)
    file = place / name
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    longer = data_key(config)
    assert longer != before
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert data_key(config) != longer


def test_the_files_of_a_folder_and_of_a_pattern_count(place: Path) -> None:
    (place / "rows").mkdir()
    (place / "rows" / "a.jsonl").write_text("{}", encoding="utf-8")
    configs = [
        recipe(datasets=[{"path": "rows", "type": "completion"}]),
        recipe(datasets=[{"path": "json", "data_files": "rows/*.jsonl", "type": "completion"}]),
        recipe(datasets=[{"path": "json", "data_files": [str(place / "rows" / "*.jsonl")], "type": "completion"}]),
    ]
    before = [data_key(config) for config in configs]
    (place / "rows" / "b.jsonl").write_text("{}", encoding="utf-8")
    assert all(old != data_key(config) for old, config in zip(before, configs, strict=True))


def test_every_option_of_data_and_tokenizer_is_in_the_key_or_known_to_leave_rows_alone() -> None:
    acting = ("runtime.data.prepare", "runtime.data.strategies", "runtime.model.tokenizer")
    options = {name for name, effect in table().items() if effect.where in acting and "." not in name and "[" not in name}
    leave_alone = {"dataset_prepared_path", "dataset_num_proc", "dataset_keep_in_memory", "tokenizer_config", "datasets", "test_datasets"}
    assert options - leave_alone == options & {*ROW_OPTIONS, *TEXT_OPTIONS}
