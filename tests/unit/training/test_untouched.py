"""What runs inside leaves a model, its trainer and every random state as they were."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.config.problem import UserError
from runtime.training.ledger import LossLedger

pytestmark = pytest.mark.train


def a_trainer() -> Any:
    import torch
    from torch import nn

    class Rotary(nn.Module):
        """As those whose frequencies grow with the longest sequence seen."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("frequencies", torch.ones(3))
            self.register_buffer("seen", torch.zeros(1))
            self.longest = 4

        def forward(self, inputs: Any) -> Any:
            self.longest = max(self.longest, len(inputs))
            self.register_buffer("frequencies", torch.full((3,), 2.0))
            self.seen += 1
            self.grown = True
            return inputs

    torch.manual_seed(0)
    model = nn.Sequential(Rotary(), nn.Linear(3, 3), nn.Dropout(0.5))
    ledger = LossLedger(reduce=lambda tensor, _: tensor, memory_gib=lambda: 0.0)
    return SimpleNamespace(model=model.eval(), optimizer=object(), ledger=ledger)


def state(trainer: Any) -> Any:
    import torch

    modules = {name: {k: v for k, v in vars(m).items() if isinstance(v, int | str)} for name, m in trainer.model.named_modules()}
    tensors = {name: tensor.tolist() for name, tensor in trainer.model.state_dict().items()}
    draws = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    gradients = [parameter.grad for parameter in trainer.model.parameters()]
    return modules, tensors, draws, gradients, id(trainer.optimizer), id(trainer.ledger), trainer.ledger.has_open


def use(trainer: Any) -> None:
    import torch

    assert trainer.optimizer is None
    random.random()
    np.random.rand()
    trainer.model.train()
    loss = trainer.model(torch.ones(6, 3)).sum()
    loss.backward()
    trainer.ledger.add(loss, torch.tensor(3))


def test_nothing_is_left_of_a_step() -> None:
    from runtime.training.untouched import untouched

    trainer = a_trainer()
    before = state(trainer)
    with untouched(trainer, trainer.model):
        use(trainer)
        assert trainer.model[1].weight.grad is not None
    assert state(trainer) == before


def test_nothing_is_left_of_a_step_that_failed() -> None:
    from runtime.training.untouched import untouched

    trainer = a_trainer()
    before = state(trainer)
    with pytest.raises(ZeroDivisionError), untouched(trainer, trainer.model):
        use(trainer) or 1 / 0
    assert state(trainer) == before


def test_a_backward_pass_that_changes_weights_is_refused() -> None:
    from runtime.training.untouched import untouched

    trainer = a_trainer()
    weight = trainer.model[1].weight

    def step(parameter: Any) -> None:
        import torch

        with torch.no_grad():
            parameter -= 0.1 * parameter.grad

    weight.register_post_accumulate_grad_hook(step)
    with pytest.raises(UserError) as refused, untouched(trainer, trainer.model):
        use(trainer)
    assert refused.value.problems[0].path == "launch.probe"
