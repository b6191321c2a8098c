"""What prepared rows depend on, so that the same rows are never prepared twice and other rows never taken for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import datasets

from runtime.config.data_key import FORMAT, ROW_OPTIONS
from runtime.data.cache import content_key
from runtime.data.sources import Source
from runtime.data.strategies import Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(slots=True, kw_only=True)
class Part:
    """One dataset of the recipe on its way to tokens."""

    source: Source
    strategy: Strategy
    entry: Any
    kind: str
    rows: datasets.Dataset | None = None


def described(config: Any, tokenizer: PreTrainedTokenizerBase, train: Sequence[Part], test: Sequence[Part]) -> Any:
    """Everything the prepared rows depend on, as JSON."""
    return {
        "format": FORMAT,
        "seed": seed_of(config),
        "options": {name: getattr(config, name) for name in ROW_OPTIONS},
        "tokenizer": _tokenizer_key(tokenizer),
        "train": [_part_key(part) for part in train],
        "test": [_part_key(part) for part in test],
    }


def _part_key(part: Part) -> Any:
    strategy = {name: _stable(getattr(part.strategy, name)) for name in part.strategy.__dataclass_fields__ if name != "tokenizer"}  # type: ignore[attr-defined]
    key = part.source.key if part.rows is None else ["loaded", part.source.path, part.rows._fingerprint]
    weight = [] if part.entry.weight is None else [part.entry.weight]
    return [type(part.strategy).__name__, strategy, key, part.entry.shards, part.entry.shards_idx, *weight]


def _stable(value: Any) -> str:
    """The value in a text that is the same in every process; sets have no order of their own."""
    return repr(sorted(value)) if isinstance(value, frozenset) else repr(value)


def _tokenizer_key(tokenizer: PreTrainedTokenizerBase) -> Any:
    fast = getattr(tokenizer, "backend_tokenizer", None)
    state = fast.to_str() if fast is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return [type(tokenizer).__name__, content_key(state), {name: str(value) for name, value in tokenizer.special_tokens_map.items()}]


def seed_of(config: Any) -> int:
    """The number all random choices about the data start from."""
    return 42 if config.seed is None else int(config.seed)
