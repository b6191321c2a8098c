"""Plain text: every token trained, long texts cut into samples of the sequence length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from runtime.config.problem import Problem, UserError
from runtime.data.tokenizing import encode
from runtime.data.tokens import TokenBatch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionStrategy:
    """Rows of one text, opened as the tokenizer opens a text and ended with the end token."""

    tokenizer: PreTrainedTokenizerBase
    sequence_len: int
    column: str = "text"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a dataset must have."""
        return (self.column,)

    def encode(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        """Token ids and labels; a row longer than the sequence length becomes several samples. Raises UserError at a row that is not text."""
        texts = rows[self.column]
        for row, text in zip(indices, texts, strict=True):
            if not isinstance(text, str):
                raise UserError(
                    Problem(
                        code="bad-row",
                        message=f"row {row + 1}: `{self.column}` must be text, found {type(text).__name__}",
                        fix="name the column that has the text with `field:`, or mend the row",
                    )
                )
        eos = self.tokenizer.eos_token_id
        batch = TokenBatch()
        for ids in encode(self.tokenizer, texts, special=True):
            whole = ids if eos is None or (ids and ids[-1] == eos) else [*ids, eos]
            for start in range(0, len(whole), self.sequence_len):
                sample = whole[start : start + self.sequence_len]
                batch.append(sample, sample)
        return batch.table()
