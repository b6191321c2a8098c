"""What the first row of a file says about the type of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.recipe.dataset import describe
from runtime.config.problem import UserError


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, {"type": "chat_template"}),
        (
            {"conversations": [{"from": "human", "value": "a"}]},
            {
                "type": "chat_template",
                "field_messages": "conversations",
                "message_property_mappings": {"role": "from", "content": "value"},
            },
        ),
        ({"instruction": "a", "input": "", "output": "b"}, {"type": "alpaca"}),
        ({"segments": [{"text": "a", "label": True}]}, {"type": "input_output"}),
        ({"text": "a"}, {"type": "completion", "field": "text"}),
        ({"input_ids": [1], "labels": [1]}, {}),
    ],
)
@pytest.mark.parametrize("layout", ["jsonl", "json"])
def test_the_columns_of_the_first_row_decide(tmp_path: Path, row: dict[str, Any], expected: dict[str, Any], layout: str) -> None:
    file = tmp_path / f"rows.{layout}"
    file.write_text(json.dumps(row) + "\n" + json.dumps(row) if layout == "jsonl" else json.dumps([row, row], indent=1))
    assert describe(str(file)) == {"path": str(file), "ds_type": "json"} | expected


def test_plain_text_is_found_in_any_column(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("id,body\n1,once upon\n")
    assert describe(str(file), text_only=True) == {"path": str(file), "ds_type": "csv", "type": "completion", "field": "body"}


def test_what_cannot_be_read_here_is_taken_for_what_is_asked(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    (tmp_path / "broken.jsonl").write_text("{not json\n")
    for path in (str(tmp_path / "rows.parquet"), str(tmp_path / "broken.jsonl"), str(tmp_path), "org/name", "s3://bucket/rows.jsonl"):
        entry = describe(path)
        assert (entry["path"], entry["type"]) == (path, "chat_template")
        assert describe(path, text_only=True)["type"] == "completion"


def test_unknown_columns_and_missing_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a", "answer": "b"}\n')
    for path, said in ((str(file), "prompt, answer"), (str(tmp_path / "none.jsonl"), "no such file"), ("./none", "no such file")):
        with pytest.raises(UserError, match=said):
            describe(path)
