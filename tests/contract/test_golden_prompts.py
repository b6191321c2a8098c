"""Token ids and label masks of the common dataset types are those recipes were written for.

`tests/data/golden_prompts.json` holds what the public tool of the field made of the same rows with real tokenizers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.train

CASES = json.loads((Path(__file__).parents[1] / "data" / "golden_prompts.json").read_text(encoding="utf-8"))["cases"]


def recipe(case: dict[str, Any], tokenizer: Path, dataset: str) -> Any:
    from runtime.config.schema import TrainingConfig

    options = {key: value for key, value in case["globals"].items() if value is not None}
    # The expected ids were made without the older handling of spaces after special tokens.
    legacy = {"tokenizer_legacy": False} if case["tokenizer"] == "llama2" else {}
    fixed = {"base_model": str(tokenizer), "micro_batch_size": 1, "num_epochs": 1, "learning_rate": 1e-4, "output_dir": str(tokenizer)}
    return TrainingConfig.model_validate(
        {**fixed, **options, **legacy, "shuffle_merged_datasets": False, "datasets": [case["dataset"] | {"path": dataset}]}
    )


@pytest.fixture(scope="session")
def load() -> Callable[[Any], Any]:
    from runtime.model.tokenizer import load_tokenizer

    loaded: dict[str, Any] = {}

    def once(config: Any) -> Any:
        key = f"{config.base_model} {config.special_tokens} {config.tokenizer_legacy}"
        if key not in loaded:
            loaded[key] = load_tokenizer(config)
        return loaded[key]

    return once


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_ids_and_labels_are_exact(case, npm_tokenizer, load):
    from runtime.data.strategies import strategy_for

    config = recipe(case, npm_tokenizer(case["tokenizer_npm"]), "x")
    strategy, _ = strategy_for(config.datasets[0], config, load(config), path="datasets[0]")
    columns = {key: [row.get(key) for row in case["rows"]] for key in {key for row in case["rows"] for key in row}}
    made = strategy.encode(columns, range(len(case["rows"]))).to_pydict()
    for number, expected in enumerate(case["output"]):
        assert made["input_ids"][number] == expected["input_ids"]
        assert made["labels"][number] == expected["labels"]


@pytest.mark.parametrize(
    "identity", ["chat-tools-qwen3", "alpaca-qwen3", "user_defined", "completion", "chat-message_field_training_detail"]
)
def test_the_whole_path_keeps_them(identity, npm_tokenizer, load, tmp_path):
    import datasets

    from runtime.data.prepare import prepare

    case = next(case for case in CASES if case["id"] == identity)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in case["rows"]), encoding="utf-8")
    config = recipe(case, npm_tokenizer(case["tokenizer_npm"]), str(rows)).model_copy(
        update={"dataset_prepared_path": str(tmp_path / "prepared")}
    )
    prepared = prepare(config, load(config))
    on_disk = datasets.load_from_disk(str(prepared.path))
    assert on_disk["input_ids"][:] == [expected["input_ids"] for expected in case["output"]]
    assert on_disk["labels"][:] == [expected["labels"] for expected in case["output"]]
    assert on_disk["attention_mask"][:] == [[1] * len(expected["input_ids"]) for expected in case["output"]]
    assert on_disk["position_ids"][:] == [list(range(len(expected["input_ids"]))) for expected in case["output"]]
