"""What people would rather look at than counts: one sample as text, with what of it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.text import Text

from runtime.data.tokens import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TRAINED = "bold green"
_MASKED = "dim"


def first_sample(ids: Sequence[int], labels: Sequence[int], positions: Sequence[int]) -> tuple[list[int], list[int]]:
    """The ids and labels of the first sample of a row, which may be packed."""
    end = next((index for index, place in enumerate(positions) if index and place == 0), len(ids))
    return [int(token) for token in ids[:end]], [int(label) for label in labels[:end]]


def token_lines(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], labels: Sequence[int], *, limit: int = 512) -> list[str]:
    """One line for each token of a sample: its id, its label (`-` where it is not trained) and its text as Python writes it; at most `limit` tokens."""
    lines = [
        f"{token:>7} {'-' if label == IGNORED else label:>7}  {tokenizer.decode([token], skip_special_tokens=False)!r}"
        for token, label in zip(ids[:limit], labels[:limit], strict=True)
    ]
    return lines if len(ids) <= limit else [*lines, f"… and {len(ids) - limit} more tokens"]


def masked_text(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], labels: Sequence[int], *, coloured: bool, limit: int = 2000
) -> Text:
    """The sample as text, trained spans in colour, or between « and » where there is no colour; at most `limit` characters."""
    text = Text()
    for trained, run in groupby(zip(ids, labels, strict=True), key=lambda pair: pair[1] != IGNORED):
        part = tokenizer.decode([token for token, _ in run], skip_special_tokens=False)
        text.append(part if coloured or not trained else f"«{part}»", style=_TRAINED if trained else _MASKED)
        if len(text) > limit:
            text.truncate(limit, overflow="ellipsis")
            break
    return text
