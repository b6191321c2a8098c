"""Where rows come from, and what is said when they cannot be had."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from runtime.config.problem import UserError
from runtime.data.sources import find_source, load_rows, require_columns

pytestmark = pytest.mark.train

ROWS = [{"text": f"row {number}"} for number in range(10)]


def entry(path: Any, **options: Any) -> Any:
    return SimpleNamespace(
        **{"path": str(path), "name": None, "split": None, "data_files": None, "ds_type": None, "revision": None} | options
    )


def texts(dataset: Any) -> list[str]:
    return load_rows(find_source(dataset, option="datasets[0]"))["text"][:]


@pytest.fixture
def files(tmp_path):
    made = datasets.Dataset.from_list(ROWS)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    made.to_csv(tmp_path / "a.csv", index=False)
    made.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("".join(row["text"] + "\n" for row in ROWS))
    made.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": made, "test": made.select([1])}).save_to_disk(tmp_path / "splits")
    return tmp_path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.txt", "saved", "splits"])
def test_every_kind_of_file_gives_its_rows(files, name):
    assert texts(entry(files / name)) == [row["text"] for row in ROWS]


@pytest.mark.parametrize("name", ["a.jsonl", "saved", "splits"])
def test_a_split_can_be_a_slice(files, name):
    assert texts(entry(files / name, split="train[:20%]")) == ["row 0", "row 1"]
    assert texts(entry(files / name, split="train[8:]")) == ["row 8", "row 9"]


def test_a_saved_dataset_has_splits_by_name(files):
    assert texts(entry(files / "splits", split="test")) == ["row 1"]
    with pytest.raises(UserError, match="no split 'dev'; the splits are train, test"):
        texts(entry(files / "splits", split="dev"))


def test_a_folder_takes_the_files_of_its_split(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "t"}\n')
    (tmp_path / "test.jsonl").write_text('{"text": "e"}\n')
    assert texts(entry(tmp_path)) == ["t"]
    assert texts(entry(tmp_path, split="test")) == ["e"]


def test_data_files_choose_inside_a_folder_or_on_their_own(files):
    assert len(texts(entry(files, data_files=["a.jsonl", "a.json"]))) == 20
    assert len(texts(entry("json", data_files=str(files / "*.jsonl")))) == 10


def test_the_kind_can_be_said(files):
    odd = files / "rows.dat"
    odd.write_text('{"text": "x"}\n')
    with pytest.raises(UserError, match="does not say what kind"):
        texts(entry(odd))
    assert texts(entry(odd, ds_type="json")) == ["x"]


def test_equal_content_has_an_equal_key_and_changed_content_another(files, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((files / "a.jsonl").read_bytes())
    first, second = (find_source(entry(path), option="datasets[0]").key for path in (files / "a.jsonl", copy))
    assert first == second
    copy.write_text('{"text": "other"}\n')
    assert find_source(entry(copy), option="datasets[0]").key != first


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"text": "a"}\n{"text": "b"\n{"text": "c"}\n', 2),
        ('{"text": "a"}\n\n{"text": }\n', 3),
        ('{"text": "a"}\n[1]\n', 2),
    ],
)
def test_a_malformed_line_is_named(tmp_path, content, line):
    file = tmp_path / "bad.jsonl"
    file.write_text(content)
    with pytest.raises(UserError) as caught:
        texts(entry(file))
    assert (caught.value.problems[0].file, caught.value.problems[0].line) == (str(file), line)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("{folder}/rows.jsnl", "did you mean .*/rows.jsonl"),
        ("./nowhere/rows.jsonl", "no file or folder"),
        ("{folder}/empty", "no data files"),
    ],
)
def test_missing_files_are_named_with_the_nearest(tmp_path, path, told):
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=told):
        find_source(entry(path.format(folder=tmp_path)), option="datasets[0]")


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", ""), ("a.parquet", "not parquet"), ("a.json", "[]")])
def test_files_without_rows_or_sense_are_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        texts(entry(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


def test_a_dataset_of_the_hub_that_cannot_be_had_says_what_to_check(tmp_path):
    with pytest.raises(UserError, match=r"nobody/nothing-here(.|\n)*cannot be reached(.|\n)*check the path or the network"):
        texts(entry("nobody/nothing-here"))


def test_missing_columns_are_named_with_those_there_are():
    rows = datasets.Dataset.from_list([{"conversations": [], "id": 1}])
    source = find_source(entry("someone/data"), option="datasets[0]")
    with pytest.raises(UserError, match=r"`messages`.*the columns are `conversations`, `id`(.|\n)*field_messages: conversations"):
        require_columns(rows, ("messages",), source, "type 'chat_template'")
