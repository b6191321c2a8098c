"""Samples into rows of a fixed length: best fit, longest first, a group at a time.

Within a group every sample is in exactly one row and no row is longer than the sequence length. The fullest row a sample fits in is found in a
constant number of steps from the set of rooms that rows have left, so the work grows with the number of samples alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.data.tokens import Indices


@dataclass(frozen=True, slots=True)
class Packs:
    """Which samples share a row: `order` holds sample numbers, `counts` how many of them each row takes in turn."""

    order: Indices
    counts: Indices

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def starts(self) -> Indices:
        """Where each row begins in `order`."""
        return np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64) if len(self.counts) else np.zeros(0, dtype=np.int64)


def pack(lengths: Indices, sequence_len: int, *, group_size: int = 100_000, bin_size: int = 200, sequentially: bool = False) -> Packs:
    """Rows for samples of these lengths; none may be longer than `sequence_len`.

    `group_size` consecutive samples are packed together, at most `bin_size` samples share a row, and `sequentially` keeps the order of the samples.
    A row lists its samples in their order, and rows follow the order of their first samples.
    """
    if len(lengths) and int(lengths.max()) > sequence_len:
        raise ValueError(f"a sample of {int(lengths.max())} tokens does not fit into rows of {sequence_len}")
    one = _next_fit if sequentially else _best_fit
    orders, counts = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(lengths), group_size):
        row_of = one(lengths[start : start + group_size], sequence_len, bin_size)
        order = np.argsort(row_of, kind="stable")
        sizes = np.bincount(row_of) if len(row_of) else np.zeros(0, dtype=np.int64)
        firsts = order[np.concatenate([[0], np.cumsum(sizes)[:-1]])]
        # Rows are numbered as they were opened, longest sample first; renumbered by first sample they follow the data again.
        rank = np.empty(len(sizes), dtype=np.int64)
        by_first = np.argsort(firsts, kind="stable")
        rank[by_first] = np.arange(len(sizes))
        orders.append(np.argsort(rank[row_of], kind="stable") + start)
        counts.append(sizes[by_first])
    return Packs(np.concatenate(orders), np.concatenate(counts))


def _best_fit(lengths: Indices, capacity: int, bin_size: int) -> NDArray[np.int64]:
    """The row of each sample, longest samples first, each into the fullest row it fits in."""
    order = np.argsort(-lengths, kind="stable")
    rows_by_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = _Rooms(capacity)
    taken: list[int] = []
    assigned: list[int] = []
    for length in lengths[order].tolist():
        room = rooms.least(length)
        if room < 0:
            row, room = len(taken), capacity
            taken.append(0)
        else:
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                rooms.remove(room)
        taken[row] += 1
        left = room - length
        if left and taken[row] < bin_size:
            if not rows_by_room[left]:
                rooms.add(left)
            rows_by_room[left].append(row)
        assigned.append(row)
    row_of = np.empty(len(lengths), dtype=np.int64)
    row_of[order] = assigned
    return row_of


class _Rooms:
    """A set of numbers up to a largest one that finds its least member from a number on in two steps, whatever the size.

    Numbers are bits of words of 512, and a word of words says which are not empty.
    """

    __slots__ = ("_some", "_words")

    def __init__(self, largest: int) -> None:
        self._words = [0] * ((largest >> 9) + 1)
        self._some = 0

    def add(self, number: int) -> None:
        self._words[number >> 9] |= 1 << (number & 511)
        self._some |= 1 << (number >> 9)

    def remove(self, number: int) -> None:
        word = number >> 9
        self._words[word] ^= 1 << (number & 511)
        if not self._words[word]:
            self._some ^= 1 << word

    def least(self, number: int) -> int:
        """The least member that is not below `number`; -1 when there is none."""
        word = number >> 9
        bits = self._words[word] >> (number & 511)
        if bits:
            return number + (bits & -bits).bit_length() - 1
        later = self._some >> (word + 1)
        if not later:
            return -1
        word += (later & -later).bit_length()
        bits = self._words[word]
        return (word << 9) + (bits & -bits).bit_length() - 1


def _next_fit(lengths: Indices, capacity: int, bin_size: int) -> NDArray[np.int64]:
    """The row of each sample when rows are filled one after the other in the order given."""
    assigned: list[int] = []
    row = used = taken = 0
    for length in lengths.tolist():
        if used + length > capacity or taken == bin_size:
            row, used, taken = row + 1, 0, 0
        used += length
        taken += 1
        assigned.append(row)
    return np.array(assigned, dtype=np.int64)
