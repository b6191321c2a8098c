"""The mean of gradients is what the paper says, and survives a checkpoint bit by bit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.train

import torch  # noqa: E402

from runtime.config.problem import UserError  # noqa: E402
from runtime.training.grokfast import Grokfast, grokfast_of  # noqa: E402


def step(filtering: Grokfast, model: torch.nn.Module, value: float) -> list[float]:
    """The gradients after the filter, when each of them was `value`."""
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, value) if parameter.requires_grad else None
    filtering.on_pre_optimizer_step(None, None, None, model=model)
    return [float(parameter.grad.mean()) for parameter in model.parameters() if parameter.grad is not None]


def test_the_slow_part_is_added() -> None:
    model = torch.nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    filtering = Grokfast(alpha=0.5, lamb=2.0)
    assert step(filtering, model, 1.0) == [3.0]  # 1 + 2 * 1
    assert step(filtering, model, 3.0) == [7.0]  # the mean of 1 and 3 is 2: 3 + 2 * 2


def test_it_goes_on_from_a_checkpoint_bit_by_bit(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 3).to(torch.bfloat16)
    calm, killed, resumed = (Grokfast(alpha=0.98, lamb=2.0) for _ in range(3))
    values = (0.3, -1.7, 0.011)
    expected = [step(calm, model, value) for value in values]
    assert [step(killed, model, value) for value in values[:2]] == expected[:2]
    killed.keep(tmp_path)
    resumed.take_up(tmp_path)
    assert step(resumed, model, values[2]) == expected[2]
    assert step(Grokfast(alpha=0.98, lamb=2.0), model, values[2]) != expected[2]


def test_a_checkpoint_without_means_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="made without Grokfast"):
        Grokfast(alpha=0.5, lamb=1).take_up(tmp_path)


@pytest.mark.parametrize(
    ("alpha", "lamb", "numbers"), [(None, None, None), (0.9, None, (0.9, 2.0)), (None, 0.5, (0.98, 0.5)), (0.0, 1.0, (0.0, 1.0))]
)
def test_one_number_is_enough(alpha: float | None, lamb: float | None, numbers: Any) -> None:
    made = grokfast_of(SimpleNamespace(grokfast_alpha=alpha, grokfast_lamb=lamb))
    assert (made and (made._alpha, made._lamb)) == numbers
