"""Which prepared rows a recipe has, told without reading a row: what a laptop can compute, to find the counts of an earlier preparation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FORMAT = 1
"""Raised when the same recipe and rows give other tokens than before."""
DEFAULT_FOLDER = "last_run_prepared"

ROW_OPTIONS = (
    "sequence_len",
    "eval_sequence_len",
    "excess_length_strategy",
    "min_sample_len",
    "sample_packing",
    "eval_sample_packing",
    "sample_packing_group_size",
    "sample_packing_bin_size",
    "sample_packing_sequentially",
    "shuffle_merged_datasets",
    "shuffle_before_merging_datasets",
    "val_set_size",
    "dataset_exact_deduplication",
    "dataset_shard_num",
    "dataset_shard_idx",
    "num_dataset_shards_to_save",
    "train_on_inputs",
)
"""Options that choose, order, cut and pack rows, the datasets themselves aside."""

TEXT_OPTIONS = (
    "chat_template",
    "chat_template_jinja",
    "chat_template_kwargs",
    "default_system_message",
    "eot_tokens",
    "tokenizer_type",
    "tokenizer_use_fast",
    "tokenizer_legacy",
    "special_tokens",
    "tokens",
    "added_tokens_overrides",
    "trust_remote_code",
)
"""Options that decide which tokens a text becomes, beside the tokenizer's own name."""

# What of a model's folder can change tokens; weights are the same rows whatever they are.
_TOKENIZER_FILES = (".json", ".jinja", ".model", ".txt", ".py", ".tiktoken")


def data_key(config: Any) -> str:
    """Twenty hexadecimal digits for what the prepared rows of `config` follow from: its options, and names, sizes and times of its local files.

    Equal keys mean equal rows, unless a file was changed within the clock's resolution and kept its size, or a repository of the Hub has moved on.
    Rows that did not change may get another key: a file that was only touched does. Reads no file, only what the file system says about it.
    """
    tokenizer = config.tokenizer_config or config.base_model
    described = {
        "format": FORMAT,
        "seed": config.seed,
        "options": {name: _plain(getattr(config, name)) for name in (*ROW_OPTIONS, *TEXT_OPTIONS)},
        "tokenizer": [_place(tokenizer), config.revision_of_model, _stamps(_tokenizer_files(tokenizer))],
        "train": [_entry(entry) for entry in config.datasets or ()],
        "test": [_entry(entry) for entry in config.test_datasets or ()],
        "templates": _stamps(_template_files(config)),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()[:20]


def prepared_folder(named: str | None) -> Path:
    """The folder that keeps the prepared rows of recipes, one folder for each; `named` is what the recipe says about it."""
    return Path(named or DEFAULT_FOLDER).expanduser()


def note_of(folder: Path, key: str) -> Path:
    """The file in `prepared_folder` that says which folder beside it holds the rows of the recipe with this `data_key`."""
    return folder / f".recipe-{key}"


def _entry(entry: Any) -> Any:
    return [_plain(entry), _stamps(_files(entry))]


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _place(name: str) -> str:
    """A folder or file by its whole path, so that it is the same from everywhere; anything else as it is."""
    local = Path(name).expanduser()
    return str(local.resolve()) if local.exists() else name


def _files(entry: Any) -> Iterator[Path]:
    """Local files of a dataset, as the preparation finds them."""
    local = Path(entry.path or "").expanduser()
    named = [entry.data_files] if isinstance(entry.data_files, str) else list(entry.data_files or ())
    if not entry.path or (not local.exists() and not named):
        return
    if local.is_file():
        yield local
    elif local.is_dir() and not named:
        yield from local.rglob("*")
    folder = local if local.is_dir() else Path()
    for pattern in named:
        plain = folder / Path(pattern).expanduser()
        yield from [plain] if plain.is_file() else Path(plain.anchor or ".").glob(str(plain.relative_to(plain.anchor)))


def _tokenizer_files(name: str) -> Iterator[Path]:
    folder = Path(name).expanduser()
    if folder.is_dir():
        yield from (file for file in folder.iterdir() if file.suffix in _TOKENIZER_FILES)


def _template_files(config: Any) -> Iterator[Path]:
    """Files that hold a chat template. A template written out in the recipe is no path."""
    for place in (config, *(config.datasets or ()), *(config.test_datasets or ())):
        for text in (place.chat_template, place.chat_template_jinja):
            if isinstance(text, str) and text and "{" not in text and "\n" not in text and Path(text).expanduser().is_file():
                yield Path(text).expanduser()


def _stamps(files: Iterator[Path]) -> list[list[Any]]:
    """Place, size and time of every file."""
    return sorted([str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in files if file.is_file())
