"""The longest rows are found without reading tokens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.train


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=30), count=st.integers(1, 12), turned=st.booleans())
def test_the_longest_come_first_and_ties_in_their_order(lengths: list[int], count: int, turned: bool) -> None:
    import datasets

    from runtime.data.longest import longest_rows

    rows = datasets.Dataset.from_dict({"input_ids": [[1] * length for length in lengths], "labels": [[1] * length for length in lengths]})
    if turned:
        # Rows chosen by index lie in another order than their tokens.
        rows, lengths = rows.select(range(len(lengths) - 1, -1, -1)), lengths[::-1]
    expected = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    assert longest_rows(rows, count) == expected[:count]
