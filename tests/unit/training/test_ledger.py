"""The ledger gives every step its own loss, whenever it is read."""

from __future__ import annotations

import pytest

from runtime.training.ledger import LossLedger, count_tokens

pytestmark = pytest.mark.train


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def ledger(clock: Clock) -> LossLedger:
    return LossLedger(reduce=lambda tensor, how: tensor, memory_gib=lambda: 1.5, clock=clock)


def test_micro_batches_add_up_to_their_step() -> None:
    import torch

    clock = Clock()
    book = ledger(clock)
    for step, parts in enumerate([(0.5, 0.25), (1.0, 2.0), (3.0,)], 1):
        for part in parts:
            book.add(torch.tensor(part), torch.tensor(3))
        book.close(step=step, epoch=step / 10, grad_norm=torch.tensor(2.0), learning_rate=1e-3)
        if step == 2:
            clock.now = 3.0
            first = book.flush()
    clock.now = 4.0
    second = book.flush()
    assert [(record.step, record.loss, record.tokens) for record in first + second] == [(1, 0.75, 6), (2, 3.0, 6), (3, 3.0, 3)]
    assert [record.tokens_per_s for record in first + second] == [4.0, 4.0, 3.0]
    assert book.flush() == []


def test_a_pause_does_not_count_as_training_time() -> None:
    import torch

    clock = Clock()
    book = ledger(clock)
    book.add(torch.tensor(1.0), torch.tensor(10))
    book.close(step=1, epoch=0.1, grad_norm=None, learning_rate=1e-3)
    resume = book.pause()
    clock.now = 9.0
    resume()
    clock.now = 10.0
    (record,) = book.flush()
    assert record.tokens_per_s == 10.0
    assert record.grad_norm is None


def test_padding_is_no_token() -> None:
    import torch

    ids = torch.tensor([[5, 6, 2, 2], [5, 2, 7, 2]])
    assert count_tokens({"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])}, 2) == 5
    learnt_end = torch.tensor([[-100, 6, 2, -100], [-100, -100, 7, -100]])
    assert count_tokens({"input_ids": ids, "labels": learnt_end}, 2) == 5
    assert count_tokens({"input_ids": ids, "labels": learnt_end}, None) == 8
