"""The order of an epoch depends on the seed and the epoch alone."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.train


def test_any_epoch_can_be_entered_again() -> None:
    import torch

    from runtime.training.order import EpochOrder

    def passes(*epochs: int, seed: int = 1, lengths: list[int] | None = None) -> list[list[int]]:
        order, found = EpochOrder(50, seed=seed, lengths=lengths, group=5), []
        for epoch in epochs:
            torch.rand(epoch + 1)
            order.enter(epoch)
            found.append(list(order))
        return found

    for lengths in (None, [index % 17 for index in range(50)]):
        first, second, third = passes(0, 1, 2, lengths=lengths)
        assert passes(2, lengths=lengths) == [third]
        assert sorted(first) == sorted(second) == list(range(50))
        assert len({tuple(first), tuple(second), tuple(third), tuple(passes(0, seed=2, lengths=lengths)[0])}) == 4
