"""Rows into batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from runtime.data.tokens import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Collator:
    """Pads rows on the right to one length and makes tensors of them.

    With `packed`, a batch has `position_ids` and no `attention_mask`: models find the borders of samples where positions start again at 0, and only
    then. Padding counts as one more sample. `flatten` puts the rows of a batch behind each other into one, which flash attention needs to see the
    borders. `length` is the length every row is padded to; without it, the longest row, rounded up to `multiple_of`.
    """

    pad_token_id: int
    packed: bool = False
    flatten: bool = False
    length: int | None = None
    multiple_of: int = 8

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        return self._positioned(rows) if self.packed else self._masked(rows)

    def _masked(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [len(row["input_ids"]) for row in rows]
        width = self._width(max(lengths))
        mask = np.arange(width)[None, :] < np.array(lengths)[:, None]
        return _tensors(
            input_ids=_stacked([row["input_ids"] for row in rows], width, self.pad_token_id),
            labels=_stacked([row["labels"] for row in rows], width, IGNORED),
            attention_mask=mask.astype(np.int64),
        )

    def _positioned(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        ids, labels, positions = (
            [np.asarray(row[name], dtype=np.int64) for row in rows] for name in ("input_ids", "labels", "position_ids")
        )
        # The first token of a sample has nothing to be predicted from: what precedes it in its row is another sample.
        labels = [np.where(places == 0, IGNORED, row) for row, places in zip(labels, positions, strict=True)]
        if self.flatten:
            ids, labels, positions = ([np.concatenate(column)] for column in (ids, labels, positions))
            width = max((self.length or 0) * len(rows), self._rounded(len(ids[0])))
        else:
            width = self._width(max(map(len, ids)))
        positions = [np.concatenate([places, np.arange(width - len(places))]) for places in positions]
        return _tensors(
            input_ids=_stacked(ids, width, self.pad_token_id),
            labels=_stacked(labels, width, IGNORED),
            position_ids=_stacked(positions, width, 0),
        )

    def _width(self, longest: int) -> int:
        return max(self.length or 0, self._rounded(longest))

    def _rounded(self, length: int) -> int:
        return -(-length // self.multiple_of) * self.multiple_of


def collator_for(config: Any, tokenizer: PreTrainedTokenizerBase) -> Collator:
    """The collator of a recipe: for packed rows when training or evaluation rows are packed, for single samples otherwise."""
    packed = bool(config.sample_packing or config.eval_sample_packing)
    flattened = bool(config.batch_flattening) and not packed and _uses_flash(config)
    whole_rows = packed if config.pad_to_sequence_len is None else bool(config.pad_to_sequence_len)
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return Collator(
        pad_token_id=int(pad or 0),
        packed=packed or flattened,
        flatten=flattened or (packed and _uses_flash(config)),
        length=int(config.sequence_len) if whole_rows else None,
        multiple_of=int(config.pad_to_multiple_of or 8),
    )


def _uses_flash(config: Any) -> bool:
    named = config.attn_implementation
    return bool(config.flash_attention) if named is None else "flash" in str(named)


def _stacked(rows: Sequence[Any], width: int, fill: int) -> NDArray[np.int64]:
    stacked = np.full((len(rows), width), fill, dtype=np.int64)
    for number, row in enumerate(rows):
        stacked[number, : len(row)] = row
    return stacked


def _tensors(**arrays: NDArray[np.int64]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
