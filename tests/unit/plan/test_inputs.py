"""Local inputs that are missing or unreadable are named before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.plan.inputs import input_problems
from runtime.config.load import check_text
from runtime.config.problem import Problem

GOOD = '{"messages": []}\n'


def problems(folder: Path, *, model: str = "org/model", data: str = "org/data", more: str = "") -> list[Problem]:
    text = f"base_model: {model}\nlearning_rate: 1e-4\nmicro_batch_size: 1\ndatasets:\n  - path: {data}\n    type: chat_template\n{more}"
    checked = check_text(text, file="recipe.yml")
    assert checked.config is not None, checked.errors
    return input_problems(checked.config)


def test_names_of_the_hub_are_not_judged(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


def test_a_missing_model_folder_and_missing_data_are_both_named(tmp_path: Path) -> None:
    found = problems(tmp_path, model=str(tmp_path / "model"), data=str(tmp_path / "rows.jsonl"))
    assert [(problem.code, problem.path) for problem in found] == [("missing-file", "base_model"), ("missing-file", "datasets[0].path")]


def test_a_file_name_without_a_folder_is_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [problem.code for problem in problems(tmp_path, data="rows.jsonl")] == ["missing-file"]
    (tmp_path / "rows.jsonl").write_text(GOOD, encoding="utf-8")
    assert problems(tmp_path, data="rows.jsonl") == []


def test_a_data_file_missing_from_a_folder_is_named(tmp_path: Path) -> None:
    found = problems(tmp_path, data=str(tmp_path), more="    data_files: [a.jsonl]\n")
    assert [(problem.code, problem.path) for problem in found] == [("missing-file", "datasets[0].data_files")]
    (tmp_path / "a.jsonl").write_text(GOOD, encoding="utf-8")
    assert problems(tmp_path, data=str(tmp_path), more="    data_files: [a.jsonl]\n") == []


@pytest.mark.parametrize(("content", "line"), [(GOOD + "{broken\n" + GOOD, 2), ("foo\n", 1), (GOOD + "\n" + GOOD + '{"a": 1}}\n', 4)])
def test_the_first_line_that_is_no_json_is_named(tmp_path: Path, content: str, line: int) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(content, encoding="utf-8")
    found = problems(tmp_path, data=str(rows))
    assert [(problem.code, problem.file, problem.line) for problem in found] == [("bad-data", str(rows), line)]


@pytest.mark.parametrize("content", [GOOD * 3, '[\n {"a": 1}\n]\n', '{\n "a": 1\n}\n', ""])
def test_whole_json_documents_and_lines_pass(tmp_path: Path, content: str) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text(content, encoding="utf-8")
    assert problems(tmp_path, data=str(rows)) == []


def test_a_byte_that_is_no_text_is_named(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b'{"a": "\xff\xfe"}\n')
    assert [problem.code for problem in problems(tmp_path, data=str(rows))] == ["bad-data"]
