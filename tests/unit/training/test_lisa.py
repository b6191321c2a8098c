"""LISA: layers take turns, and one whose turn it is not stands still."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from runtime.config.problem import UserError
from runtime.config.rules.watching import LISA_OPTIMIZERS
from runtime.training.lisa import Lisa, Turns, lisa_of

pytestmark = pytest.mark.train

TURNS = Turns(layers=5, at_a_time=2, interval=3, seed=42)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(5))
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.model.layers:
            x = torch.tanh(layer(x))
        return self.head(x).sum()


def recipe(**values: Any) -> Any:
    return SimpleNamespace(**{"lisa_n_layers": 2, "lisa_step_interval": 3, "lisa_layers_attribute": "model.layers", "seed": 42} | values)


def test_the_layers_of_a_step_follow_from_the_seed_and_the_step() -> None:
    again = Turns(layers=5, at_a_time=2, interval=3, seed=42)
    assert [TURNS.at(step) for step in range(30)] == [again.at(step) for step in range(30)]
    assert all(len(set(TURNS.at(step))) == 2 for step in range(30))
    assert {TURNS.at(step) for step in (0, 1, 2)} == {TURNS.at(0)}
    assert {layer for step in range(60) for layer in TURNS.at(step)} == set(range(5))
    assert [TURNS.at(step) for step in range(30)] != [Turns(layers=5, at_a_time=2, interval=3, seed=43).at(step) for step in range(30)]


def optimizers() -> list[Any]:
    from transformers.optimization import Adafactor

    return [
        pytest.param(lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1), id="adamw"),
        pytest.param(lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, fused=True), id="adamw-fused"),
        pytest.param(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1), id="sgd"),
        pytest.param(lambda p: torch.optim.RMSprop(p, lr=0.1, weight_decay=0.1), id="rmsprop"),
        pytest.param(lambda p: Adafactor(p, lr=0.1, relative_step=False, weight_decay=0.1), id="adafactor"),
    ]


@pytest.mark.parametrize("make", optimizers())
def test_layers_that_wait_keep_their_values_and_hold_no_state(make: Any) -> None:
    model = Model()
    optimizer, lisa = make(model.parameters()), Lisa(list(model.model.layers), TURNS)
    for step in range(9):
        lisa.on_step_begin(None, SimpleNamespace(global_step=step), None, optimizer=optimizer)
        before = [layer.weight.detach().clone() for layer in model.model.layers]
        head = model.head.weight.detach().clone()
        model(torch.ones(3, 4)).backward()
        optimizer.step()
        optimizer.zero_grad()
        changed = tuple(number for number, layer in enumerate(model.model.layers) if not layer.weight.equal(before[number]))
        assert changed == TURNS.at(step)
        assert not model.head.weight.equal(head)
        held = {number for number, layer in enumerate(model.model.layers) if layer.weight in optimizer.state}
        assert held == set(TURNS.at(step))
    lisa.on_train_end(None, None, None)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_rule_allows_no_optimizer_that_makes_its_state_beforehand() -> None:
    assert torch.optim.Adagrad(Model().parameters()).state, "it makes state for parameters that have no gradient yet"
    assert "adagrad" not in LISA_OPTIMIZERS


def test_a_model_without_that_list_or_with_too_few_layers_is_refused() -> None:
    assert lisa_of(recipe(lisa_n_layers=None), Model()) is None
    with pytest.raises(UserError, match=r"no list of layers at 'transformer\.h'") as caught:
        lisa_of(recipe(lisa_layers_attribute="transformer.h"), Model())
    assert "'model.layers'" in caught.value.problems[0].fix
    with pytest.raises(UserError, match="6 layers are to train at a time, and the model has 5"):
        lisa_of(recipe(lisa_n_layers=6), Model())
