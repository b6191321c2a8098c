"""Rows into batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from runtime.config.problem import Problem, UserError
from runtime.data.tokens import IGNORED, TEACHER_IDS, TEACHER_SCORES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Collator:
    """Pads rows on the right to one length and makes tensors of them.

    With `packed`, a batch has `position_ids` and no `attention_mask`: models find the borders of samples where positions start again at 0, and only
    then. Padding counts as one more sample. `flatten` puts the rows of a batch behind each other into one, which flash attention needs to see the
    borders. `length` is the length every row is padded to; without it, the longest row, rounded up to `multiple_of`. `borders` adds to a flattened batch where its samples begin, as
    flash attention takes them, which it would otherwise find in every layer anew.
    """

    pad_token_id: int
    packed: bool = False
    flatten: bool = False
    length: int | None = None
    multiple_of: int = 8
    borders: bool = False

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch = self._positioned(rows) if self.packed else self._masked(rows)
        if TEACHER_IDS in rows[0]:
            batch |= _taught(rows, batch["input_ids"].shape)
        return batch

    def _masked(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [len(row["input_ids"]) for row in rows]
        width = self._width(max(lengths))
        mask = np.arange(width)[None, :] < np.array(lengths)[:, None]
        return _tensors(
            input_ids=_stacked([row["input_ids"] for row in rows], width, self.pad_token_id),
            labels=_stacked([row["labels"] for row in rows], width, IGNORED),
            attention_mask=mask.astype(np.int64),
        )

    def _positioned(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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
        batch: dict[str, Any] = _tensors(
            input_ids=_stacked(ids, width, self.pad_token_id),
            labels=_stacked(labels, width, IGNORED),
            position_ids=_stacked(positions, width, 0),
        )
        return batch | (_borders(positions[0]) if self.borders and self.flatten else {})

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
        flatten=flattened or (packed and _in_one_row(config)),
        length=int(config.sequence_len) if whole_rows else None,
        multiple_of=int(config.pad_to_multiple_of or 8),
        borders=_with_borders(config, packed or flattened),
    )


def _with_borders(config: Any, packed: bool) -> bool:
    if not config.fa_varlen_kwargs_in_collator:
        return False
    if not (packed and _uses_flash(config)):
        raise UserError(
            Problem(
                code="conflict",
                path="fa_varlen_kwargs_in_collator",
                message="only flash attention takes the borders of packed samples, and this run has no flash attention over packed rows",
                fix="remove it, or set `flash_attention: true` and `sample_packing: true`",
            )
        )
    return True


def _in_one_row(config: Any) -> bool:
    """Whether packed rows of a batch are put behind each other. Flash attention sees the borders of samples only there."""
    flash = _uses_flash(config)
    if config.multipack_real_batches and flash:
        raise UserError(
            Problem(
                code="conflict",
                path="multipack_real_batches",
                message="flash attention tells packed samples apart only in one long row",
                fix="remove it, or set `sdp_attention: true`",
            )
        )
    return flash if config.multipack_real_batches is None else not config.multipack_real_batches


def _uses_flash(config: Any) -> bool:
    named = config.attn_implementation
    return bool(config.flash_attention) if named is None else "flash" in str(named)


def _taught(rows: Sequence[Mapping[str, Any]], shape: torch.Size) -> dict[str, torch.Tensor]:
    """A teacher's candidates and scores of the tokens of a batch of `shape`, (rows, width, candidates); scores are -inf where there are none."""
    count = len(rows[0][TEACHER_IDS]) // len(rows[0]["input_ids"])
    ids = np.zeros((*shape, count), dtype=np.int64)
    scores = np.full((*shape, count), -np.inf, dtype=np.float32)
    place = 0
    for number, row in enumerate(rows):
        # In a flattened batch, which has one row, each sample begins where the one before it ends.
        line, first = (0, place) if shape[0] == 1 else (number, 0)
        place += (length := len(row["input_ids"]))
        ids[line, first : first + length] = np.asarray(row[TEACHER_IDS]).reshape(length, count)
        scores[line, first : first + length] = np.asarray(row[TEACHER_SCORES]).reshape(length, count)
    return {TEACHER_IDS: torch.from_numpy(ids), TEACHER_SCORES: torch.from_numpy(scores)}


def _borders(positions: NDArray[np.int64]) -> dict[str, Any]:
    """Where the samples of one long row begin and the row ends, and the longest of them in tokens, under the names of transformers' flash attention."""
    ends = np.append(np.flatnonzero(positions == 0), len(positions)).astype(np.int32)
    starts, longest = torch.from_numpy(ends), int(np.diff(ends).max())
    return {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}


def _stacked(rows: Sequence[Any], width: int, fill: int) -> NDArray[np.int64]:
    stacked = np.full((len(rows), width), fill, dtype=np.int64)
    for number, row in enumerate(rows):
        stacked[number, : len(row)] = row
    return stacked


def _tensors(**arrays: NDArray[np.int64]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
