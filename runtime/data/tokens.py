"""Token ids and labels of many samples in flat arrays: what strategies make, what packing and filters work on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

IGNORED = -100
Ids = NDArray[np.int32]
Indices = NDArray[np.int64]

# Columns of rows with a teacher's candidates: for each token as many as any token of the row has, flat.
TEACHER_IDS = "teacher_ids"
TEACHER_SCORES = "teacher_scores"

TOKEN_SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
TAUGHT_SCHEMA = TOKEN_SCHEMA.append(pa.field(TEACHER_IDS, pa.list_(pa.int32()))).append(pa.field(TEACHER_SCORES, pa.list_(pa.float32())))


@dataclass(slots=True, kw_only=True)
class TokenBatch:
    """Samples being collected: one list of ids each, and of the same length, labels (`IGNORED` where no loss is taken)."""

    ids: list[Sequence[int]] = field(default_factory=list)
    labels: list[Sequence[int]] = field(default_factory=list)

    def append(self, ids: Sequence[int], labels: Sequence[int]) -> None:
        """Add a sample."""
        self.ids.append(ids)
        self.labels.append(labels)

    def table(self) -> pa.Table:
        """The samples as an Arrow table of `TOKEN_SCHEMA`."""
        return pa.table([_list_array(self.ids), _list_array(self.labels)], schema=TOKEN_SCHEMA)


class TokenRows:
    """Samples that lie in Arrow memory (mapped from a file, when they are many), read without copying.

    `lengths` and `trained` (how many labels are not `IGNORED`) have one entry a sample. `candidates`, in rows with a teacher, is the most candidates
    a token has; 0 without.
    """

    def __init__(self, tables: Sequence[pa.Table]) -> None:
        self._ids: list[Ids] = []
        self._labels: list[Ids] = []
        self._teacher: list[tuple[Ids, NDArray[np.float32], Indices]] = []
        self._first_of: list[int] = []
        self.candidates = 0
        starts: list[Indices] = [np.zeros(0, dtype=np.int64)]
        chunk_of: list[Indices] = [np.zeros(0, dtype=np.int64)]
        lengths: list[Indices] = [np.zeros(0, dtype=np.int64)]
        trained: list[Indices] = [np.zeros(0, dtype=np.int64)]
        count = 0
        for table in tables:
            taught = TEACHER_IDS in table.column_names
            for batch in table.select((TAUGHT_SCHEMA if taught else TOKEN_SCHEMA).names).to_batches():
                if batch.num_rows == 0:
                    continue
                ids, offsets = _flat(batch.column(0))
                labels, _ = _flat(batch.column(1))
                chunk_of.append(np.full(batch.num_rows, len(self._ids), dtype=np.int64))
                self._ids.append(ids)
                self._labels.append(labels)
                starts.append(offsets[:-1])
                lengths.append(np.diff(offsets))
                counted = np.concatenate([[0], np.cumsum(labels != IGNORED)])
                trained.append(counted[offsets[1:]] - counted[offsets[:-1]])
                self._first_of.append(count)
                count += batch.num_rows
                nothing = np.zeros(0, dtype=np.int32), np.zeros(batch.num_rows + 1, dtype=np.int64)
                candidates, places = _flat(batch.column(2)) if taught else nothing
                scores = batch.column(3).values.to_numpy() if taught else np.zeros(0, dtype=np.float32)
                self._teacher.append((candidates, scores, places))
                self.candidates = max(self.candidates, int((np.diff(places) // np.maximum(np.diff(offsets), 1)).max()))
        self._chunk_of = np.concatenate(chunk_of)
        self._starts = np.concatenate(starts)
        self.lengths: Indices = np.concatenate(lengths)
        self.trained: Indices = np.concatenate(trained)

    def __len__(self) -> int:
        return len(self.lengths)

    def samples(self, rows: Indices, *, limit: int | None = None) -> Iterator[tuple[Ids, Ids]]:
        """(ids, labels) of each of `rows`, cut to `limit` tokens."""
        lengths = self.lengths[rows] if limit is None else np.minimum(self.lengths[rows], limit)
        for chunk, start, stop in zip(
            self._chunk_of[rows].tolist(), self._starts[rows].tolist(), (self._starts[rows] + lengths).tolist(), strict=True
        ):
            yield self._ids[chunk][start:stop], self._labels[chunk][start:stop]

    def taught(self, rows: Indices, *, limit: int) -> Iterator[tuple[Ids, NDArray[np.float32]]]:
        """(candidates, scores) of each of `rows`, cut to `limit` tokens: arrays of (tokens, `candidates`), filled up with scores of -inf."""
        for row in rows.tolist():
            chunk, length = int(self._chunk_of[row]), int(self.lengths[row])
            ids, scores, places = self._teacher[chunk]
            at = row - self._first_of[chunk]
            part = slice(int(places[at]), int(places[at + 1]))
            width = (part.stop - part.start) // max(length, 1)
            filled = ((0, 0), (0, self.candidates - width))
            yield (
                np.pad(ids[part].reshape(length, width)[:limit], filled),
                np.pad(scores[part].reshape(length, width)[:limit], filled, constant_values=-np.inf),
            )


def list_array(values: NDArray[np.generic], lengths: Indices) -> pa.ListArray:
    """Flat `values` cut into lists of `lengths`."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _list_array(lists: Sequence[Sequence[int]]) -> pa.ListArray:
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    return list_array(np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(lengths.sum())), lengths)


def _flat(column: pa.ListArray) -> tuple[Ids, Indices]:
    offsets = column.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    return column.values.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), offsets
