import csv
import json
from pathlib import Path
from typing import Any

import pytest

from launcher.estimate.rows import data_size
from runtime.config.load import check_text
from runtime.config.schema import TrainingConfig


def config_of(data: str, extra: str = "") -> TrainingConfig:
    checked = check_text(f"base_model: x/y\nlearning_rate: 0.001\ndatasets: [{data}]\n{extra}", file="recipe.yml")
    assert checked.config is not None, checked.errors
    return checked.config


def write_rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def chat(characters: int) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "q" * (characters // 2)}, {"role": "assistant", "content": "a" * (characters // 2)}],
        "id": "z" * 1000,
    }


def test_messages_count_and_other_columns_do_not(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [chat(400)] * 10)
    size = data_size(config_of(f"{{path: {file}, type: chat_template}}", "sequence_len: 4096\n"), vocab=32000)
    assert size.known
    assert size.rows.value == 10
    # 400 characters and two roles a row, at four characters to a token, and two messages of five tokens around them.
    assert 10 * 400 / 4 < size.tokens.value < 10 * (430 / 4 + 10)
    assert size.tokens.low < size.tokens.value < size.tokens.high


def test_rows_set_aside_for_evaluation_are_not_trained(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [chat(400)] * 100)
    assert data_size(config_of(f"{{path: {file}, type: chat_template}}", "val_set_size: 0.1\n"), vocab=32000).rows.value == pytest.approx(
        90
    )
    assert data_size(config_of(f"{{path: {file}, type: chat_template}}", "val_set_size: 20\n"), vocab=32000).rows.value == pytest.approx(80)


def test_no_row_counts_more_than_sequence_len(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [chat(100_000)] * 3)
    size = data_size(config_of(f"{{path: {file}, type: chat_template}}", "sequence_len: 512\n"), vocab=32000)
    assert size.tokens.high <= 3 * 512
    assert size.longest == 512


def test_a_large_file_is_sampled_and_extrapolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [chat(400)] * 1000)
    whole = data_size(config_of(f"{{path: {file}, type: chat_template}}"), vocab=32000)
    monkeypatch.setattr("launcher.estimate.rows.SAMPLED_BYTES", 20_000)
    sampled = data_size(config_of(f"{{path: {file}, type: chat_template}}"), vocab=32000)
    assert sampled.rows.value == pytest.approx(whole.rows.value, rel=0.02)
    assert sampled.tokens.value == pytest.approx(whole.tokens.value, rel=0.02)


def test_json_arrays_csv_and_text_are_counted(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"text": "w" * 100}] * 4), encoding="utf-8")
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=["text"])
        writer.writeheader()
        writer.writerows([{"text": "w" * 100}] * 5)
    (tmp_path / "rows.txt").write_text("word " * 20 + "\n" + "word " * 20 + "\n", encoding="utf-8")
    for name, rows in (("rows.json", 4), ("rows.csv", 5), ("rows.txt", 2)):
        size = data_size(config_of(f"{{path: {tmp_path / name}, type: completion}}"), vocab=32000)
        assert (size.known, size.rows.value) == (True, rows), name


def test_data_elsewhere_is_unknown_and_not_guessed() -> None:
    size = data_size(config_of("{path: org/set, type: alpaca}"), vocab=32000)
    assert not size.known
    assert "not on this machine" in size.basis


def test_a_broken_line_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(chat(40)) + "\n{broken\n" + json.dumps(chat(40)) + "\n", encoding="utf-8")
    assert data_size(config_of(f"{{path: {file}, type: chat_template}}"), vocab=32000).rows.value == 2
