"""The order rows are trained in: drawn from the seed and the epoch alone, so that any epoch can be entered anywhere again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices


class EpochOrder(Sampler[int]):
    """A shuffle of `rows` rows. With `lengths`, rows of similar length come together in groups of `group` rows, whose order is shuffled.

    The libraries' own samplers draw from the process's random state, or forget the epoch when several processes resume inside one.
    """

    def __init__(self, rows: int, *, seed: int, lengths: Sequence[int] | None = None, group: int = 1) -> None:
        self._rows = rows
        self._seed = seed
        self._lengths = lengths
        self._group = group
        self._epoch = 0

    def enter(self, epoch: int) -> None:
        """The next pass is that of `epoch`, from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        # Consecutive seeds must not give related shuffles to runs whose seeds differ by one.
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + self._epoch) % 2**63)
        if self._lengths is not None:
            return iter(get_length_grouped_indices(list(self._lengths), self._group, generator=generator))
        return iter(torch.randperm(self._rows, generator=generator).tolist())
