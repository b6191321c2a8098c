"""The examples are what they say: recipes that are valid, rows that come from their table, a model that fits beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from runtime.config.load import check_text, load_config

ROOT = Path(__file__).resolve().parents[2]
WRONG_FACT = {"unknown-key", "wrong-type", "unknown-name", "out-of-range", "yaml"}
"""What an example line of the table must not be; that it needs another option beside it, or is not built yet, is no fault of the fact."""
OF_A_DATASET = {"roles_to_train", "train_on_eos"}
RECIPES = sorted((ROOT / "examples").glob("*.yml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_valid(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    checked = load_config(recipe)
    assert checked.errors == ()
    assert checked.config is not None


def test_quickstart_raises_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert load_config(ROOT / "examples" / "quickstart.yml").warnings == ()


def test_committed_rows_are_what_the_table_gives() -> None:
    done = subprocess.run([sys.executable, "examples/build_dataset.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rows_are_conversations_that_end_with_an_answer() -> None:
    rows = [
        json.loads(line)["messages"]
        for line in (ROOT / "examples" / "data" / "launcher-help.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) >= 400
    for messages in rows:
        assert [message["role"] for message in messages] == ["user", "assistant"] * (len(messages) // 2)
        assert all(message["content"].strip() == message["content"] != "" for message in messages)


def test_rows_name_only_options_that_exist() -> None:
    table = yaml.safe_load((ROOT / "examples" / "data" / "knowledge.yml").read_text(encoding="utf-8"))
    wrong = []
    for name, fact in (table["options"] | table["launch"]).items():
        checked = check_text(_recipe_with(name, fact["write"]), file=name)
        wrong += [(name, problem.code, problem.message) for problem in checked.errors if problem.code in WRONG_FACT]
    assert wrong == []


def _recipe_with(name: str, line: str) -> str:
    dataset = "path: x.jsonl, type: chat_template"
    if name in OF_A_DATASET:
        return f"base_model: x\ndatasets: [{{{dataset}, {line}}}]\n"
    rest = {"base_model": "x", "datasets": f"[{{{dataset}}}]", "micro_batch_size": "1", "learning_rate": "0.1"}
    return "\n".join([line, *(f"{key}: {value}" for key, value in rest.items() if key != name)]) + "\n"


def test_tiny_model_is_small() -> None:
    files = [path for path in (ROOT / "examples" / "models" / "tiny-llama").iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
