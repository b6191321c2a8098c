"""Rows that already hold tokens, or texts that say for themselves which of them are trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runtime.config.problem import Problem, UserError
from runtime.data.tokenizing import encode
from runtime.data.tokens import IGNORED, TokenBatch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStrategy:
    """Rows with `input_ids`, and `labels` of the same length unless every token is trained. Taken as they are."""

    tokenizer: PreTrainedTokenizerBase

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a dataset must have."""
        return ("input_ids",)

    def encode(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        """The rows. Raises UserError when labels and ids differ in length or an id is not in the vocabulary."""
        batch = TokenBatch()
        vocabulary = len(self.tokenizer)
        for position, ids in enumerate(rows["input_ids"]):
            labels = rows["labels"][position] if "labels" in rows and rows["labels"][position] is not None else ids
            if len(labels) != len(ids):
                raise _bad_row(indices[position], f"has {len(ids)} input_ids and {len(labels)} labels", "give one label a token")
            if len(ids) and not 0 <= min(ids) <= max(ids) < vocabulary:
                raise _bad_row(
                    indices[position],
                    f"has token ids {min(ids)} to {max(ids)}; the tokenizer has {vocabulary}",
                    "tokenize the data with this model's tokenizer",
                )
            batch.append(ids, labels)
        return batch.table()


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStrategy:
    """Rows with `segments` of `text` and `label` (trained or not), nothing put before, between or after them."""

    tokenizer: PreTrainedTokenizerBase

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a dataset must have."""
        return ("segments",)

    def encode(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        """Token ids and labels; each segment is tokenized on its own. Raises UserError at a row without segments."""
        for row, segments in zip(indices, rows["segments"], strict=True):
            if not isinstance(segments, list) or not all(
                isinstance(part, Mapping) and "text" in part and "label" in part for part in segments
            ):
                raise _bad_row(row, "`segments` must be a list of {label, text}", "mend the row")
        ids = iter(encode(self.tokenizer, [part["text"] for part in chain.from_iterable(rows["segments"])], special=False))
        batch = TokenBatch()
        for segments in rows["segments"]:
            parts = [(next(ids), bool(part["label"])) for part in segments]
            batch.append(
                list(chain.from_iterable(part for part, _ in parts)),
                [token if train else IGNORED for part, train in parts for token in part],
            )
        return batch.table()


def _bad_row(row: int, message: str, fix: str) -> UserError:
    return UserError(Problem(code="bad-row", message=f"row {row + 1}: {message}", fix=fix))
