"""A small real tokenizer, and recipes in a few words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a byte-level BPE tokenizer of 600 tokens, ChatML marks and a template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=marks, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    text = [
        "hello there friend",
        "the quick brown fox answers the question of the user and the assistant says hello there friend",
        "one two three four five six seven",
    ]
    made.train_from_iterator(text * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|pad|>", chat_template=CHAT)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tokenizer_folder)


@pytest.fixture
def recipe(tmp_path: Path, tokenizer_folder: Path) -> Callable[..., Any]:
    """Makes a checked recipe: keyword arguments are its options, defaults give one dataset `rows.jsonl` of conversations."""
    from runtime.config.schema import TrainingConfig

    def make(**options: Any) -> Any:
        defaults: dict[str, Any] = {
            "base_model": str(tokenizer_folder),
            "datasets": [{"path": str(tmp_path / "rows.jsonl"), "type": "chat_template"}],
            "sequence_len": 64,
            "shuffle_merged_datasets": False,
            "dataset_prepared_path": str(tmp_path / "prepared"),
            "output_dir": str(tmp_path / "out"),
            "micro_batch_size": 1,
            "learning_rate": 0.001,
            "num_epochs": 1,
        }
        return TrainingConfig.model_validate(defaults | options)

    return make


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows, one JSON object a line, to `rows.jsonl` or another name, and returns the file."""

    def write(rows: Sequence[Any], name: str = "rows.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return file

    return write


def chat(*contents: str) -> dict[str, Any]:
    """A conversation of these contents, user and assistant in turn."""
    return {"messages": [{"role": ("user", "assistant")[index % 2], "content": content} for index, content in enumerate(contents)]}
