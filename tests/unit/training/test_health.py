"""Losses that make no sense end a run; evaluations that do not improve end it early."""

from __future__ import annotations

import pytest

from runtime.config.problem import ExitCode, UserError
from runtime.training.health import Improvement, LossWatch
from runtime.training.ledger import StepRecord


def records(*losses: float) -> list[StepRecord]:
    return [
        StepRecord(step=step, epoch=0.1, loss=loss, grad_norm=1.0, learning_rate=1e-3, tokens=1, tokens_per_s=1.0, memory_gib=1.0)
        for step, loss in enumerate(losses, 1)
    ]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_must_be_a_number(loss: float) -> None:
    with pytest.raises(UserError, match="step 2") as caught:
        LossWatch().see(records(2.0, loss))
    assert caught.value.exit_code == ExitCode.TRAINING_FAILED


def test_high_losses_count_in_a_row_across_readings() -> None:
    watch = LossWatch(threshold=3.0, patience=3)
    watch.see(records(4, 4, 2, 4, 4))
    assert watch.high_in_a_row == 2
    with pytest.raises(UserError, match=r"above loss_watchdog_threshold \(3\) for 3 steps"):
        watch.see(records(3.5))


def test_patience_counts_evaluations_that_are_not_the_best() -> None:
    improvement = Improvement(patience=2)
    assert [improvement.see(best) for best in (True, False, True, False, False)] == [False, False, False, False, True]
    assert not any(Improvement().see(False) for _ in range(9))
