"""Which prepared rows are the longest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

if TYPE_CHECKING:
    import datasets

_AT_ONCE = 10_000


def longest_rows(rows: datasets.Dataset, count: int) -> list[int]:
    """The indices of the `count` rows with the most tokens, the longest first; of rows of one length, the earlier first. All of them when there are fewer."""
    tables = rows.select_columns(["input_ids"]).with_format("arrow").iter(batch_size=_AT_ONCE)
    lengths = np.concatenate([np.zeros(0, dtype=np.int64), *(pc.list_value_length(table["input_ids"]).to_numpy() for table in tables)])
    return np.argsort(-lengths, kind="stable")[:count].tolist()
