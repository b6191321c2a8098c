"""Prepared rows to disk: the four columns every training row has, written a block at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from runtime.data.packing import Packs
from runtime.data.tokens import IGNORED, TEACHER_IDS, TEACHER_SCORES, TokenRows, list_array

_FEATURES = datasets.Features(
    {
        "input_ids": datasets.List(datasets.Value("int32")),
        "labels": datasets.List(datasets.Value("int32")),
        "attention_mask": datasets.List(datasets.Value("int8")),
        "position_ids": datasets.List(datasets.Value("int32")),
    }
)
# Behind those, in rows with a teacher: its candidates for every token, flat, the same number for each token of all rows.
_TAUGHT_FEATURES = datasets.Features(
    {**_FEATURES, TEACHER_IDS: datasets.List(datasets.Value("int32")), TEACHER_SCORES: datasets.List(datasets.Value("float32"))}
)
_BLOCK_TOKENS = 4_000_000


def write_rows(
    rows: TokenRows, packs: Packs, folder: Path, *, limit: int, scratch: Path, files: int | None = None, taught: bool = False
) -> None:
    """Write one row for each pack, its samples behind each other, cut to `limit` tokens; `datasets.load_from_disk(folder)` opens them.

    Position ids start at 0 in each sample. The first label of a sample that follows another in its row is ignored: it would be predicted from the
    other one's last token.
    """
    features = _TAUGHT_FEATURES if taught else _FEATURES
    stream = scratch / f"{folder.name}.arrow"
    with pa.OSFile(str(stream), "wb") as sink, pa.ipc.new_stream(sink, features.arrow_schema) as writer:
        # A teacher's candidates are many times the tokens.
        for first, last in _blocks(rows, packs, limit, _BLOCK_TOKENS // (1 + 2 * rows.candidates * taught)):
            writer.write_table(_table(rows, packs, first, last, limit, features, taught=taught))
    # An empty cache of evaluation rows is a dataset too, and keeps its columns.
    datasets.Dataset.from_file(str(stream)).save_to_disk(folder, num_shards=files)
    stream.unlink()


def _blocks(rows: TokenRows, packs: Packs, limit: int, tokens: int) -> list[tuple[int, int]]:
    """Ranges of packs of about so many tokens each, so that memory does not grow with the data."""
    if not len(packs):
        return []
    ends = np.cumsum(np.minimum(rows.lengths[packs.order], limit))[packs.starts + packs.counts - 1]
    cuts = np.searchsorted(ends, np.arange(tokens, int(ends[-1]) + tokens, tokens), side="left") + 1
    bounds = [0, *np.unique(np.minimum(cuts, len(packs))).tolist()]
    return [(first, last) for first, last in pairwise(bounds) if last > first]


def _table(rows: TokenRows, packs: Packs, first: int, last: int, limit: int, features: datasets.Features, *, taught: bool) -> pa.Table:
    start = int(packs.starts[first])
    counts = packs.counts[first:last]
    members = packs.order[start : start + int(counts.sum())]
    lengths = np.minimum(rows.lengths[members], limit)
    parts = list(rows.samples(members, limit=limit))
    ids = np.concatenate([part for part, _ in parts])
    labels = np.concatenate([part for _, part in parts])
    sample_starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    positions = (np.arange(len(ids)) - np.repeat(sample_starts, lengths)).astype(np.int32)
    row_lengths = np.add.reduceat(lengths, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    leads = np.zeros(len(members), dtype=bool)
    leads[np.concatenate([[0], np.cumsum(counts)[:-1]])] = True
    labels[sample_starts[~leads]] = IGNORED
    columns = [list_array(array, row_lengths) for array in (ids, labels, np.ones(len(ids), dtype=np.int8), positions)]
    if taught:
        said = list(rows.taught(members, limit=limit))
        columns += [list_array(np.concatenate([part[index].ravel() for part in said]), row_lengths * rows.candidates) for index in (0, 1)]
    return pa.table(columns, schema=features.arrow_schema)
