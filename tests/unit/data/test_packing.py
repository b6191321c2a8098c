"""Packing: every sample once, no row too long, close to full, and in the order it promises."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.data.packing import pack

pytestmark = pytest.mark.train

lengths_and_room = st.integers(1, 300).flatmap(lambda room: st.tuples(st.lists(st.integers(1, room), max_size=200), st.just(room)))


@given(lengths_and_room, st.integers(1, 60), st.integers(1, 9), st.booleans())
def test_every_sample_is_in_one_row_and_no_row_is_too_long(drawn, group_size, bin_size, sequentially):
    lengths, room = np.array(drawn[0], dtype=np.int64), drawn[1]
    packs = pack(lengths, room, group_size=group_size, bin_size=bin_size, sequentially=sequentially)
    assert sorted(packs.order.tolist()) == list(range(len(lengths)))
    assert packs.counts.sum() == len(lengths)
    for start, count in zip(packs.starts, packs.counts, strict=True):
        members = packs.order[start : start + count]
        assert 1 <= count <= bin_size
        assert lengths[members].sum() <= room
        assert (np.diff(members) > 0).all()
        assert members.max() // group_size == members.min() // group_size


@given(lengths_and_room)
def test_sequential_packing_keeps_the_order(drawn):
    packs = pack(np.array(drawn[0], dtype=np.int64), drawn[1], sequentially=True)
    assert packs.order.tolist() == list(range(len(drawn[0])))


@given(lengths_and_room)
def test_two_neighbouring_rows_never_fit_into_one(drawn):
    lengths, room = np.array(drawn[0], dtype=np.int64), drawn[1]
    packs = pack(lengths, room)
    sizes = sorted(lengths[packs.order[start : start + count]].sum() for start, count in zip(packs.starts, packs.counts, strict=True))
    assert all(one + two > room for one, two in pairwise(sizes))


def test_best_fit_fills_rows_that_next_fit_leaves_open():
    lengths = np.array([60, 60, 40, 40], dtype=np.int64)
    assert len(pack(lengths, 100)) == 2
    assert len(pack(lengths, 100, sequentially=True)) == 3


def test_rows_follow_their_first_samples():
    packs = pack(np.array([10, 90, 50, 50, 90, 10], dtype=np.int64), 100)
    firsts = packs.order[packs.starts]
    assert firsts.tolist() == sorted(firsts.tolist())


def test_a_sample_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="101 tokens"):
        pack(np.array([5, 101], dtype=np.int64), 100)


def test_nothing_packs_to_nothing():
    assert len(pack(np.zeros(0, dtype=np.int64), 100)) == 0
