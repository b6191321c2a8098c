"""Parameters learn at the rate of the first rule that names them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.training.optimizer import Rates, parameter_groups, rates_of

pytestmark = pytest.mark.train


class Parameters:
    def __init__(self, *names: str, frozen: tuple[str, ...] = ()) -> None:
        import torch

        self.named = {name: torch.nn.Parameter(torch.zeros(1), requires_grad=name not in frozen) for name in names}

    def named_parameters(self) -> Any:
        return self.named.items()

    def rates(self, rates: Rates) -> dict[str, tuple[float, float]]:
        names = {id(parameter): name for name, parameter in self.named.items()}
        groups = parameter_groups(self, rates, weight_decay=0.1, decayed={"q_proj.weight"})  # type: ignore[arg-type]
        return {names[id(parameter)]: (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]}


def test_rules_in_order() -> None:
    model = Parameters(
        "q_proj.weight", "embed_tokens.weight", "up.lora_A.weight", "up.lora_B.weight", "norm.weight", "old.weight", frozen=("old.weight",)
    )
    rates = Rates(base=1.0, embedding=2.0, adapter_b=16.0, adapter_embedding=0.5, groups=(("heads", ("q_proj", "norm"), 9.0),))
    assert model.rates(rates) == {
        "q_proj.weight": (9.0, 0.1),
        "embed_tokens.weight": (2.0, 0.0),
        "up.lora_A.weight": (1.0, 0.0),
        "up.lora_B.weight": (16.0, 0.0),
        "norm.weight": (9.0, 0.0),
    }


def test_a_group_that_names_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="'heads' names no trainable parameter"):
        Parameters("a.weight").rates(Rates(base=1.0, groups=(("heads", ("q_proj",), 9.0),)))


def test_rates_of_a_recipe() -> None:
    unset = {
        "learning_rate": 1e-4,
        "embedding_lr": None,
        "embedding_lr_scale": None,
        "loraplus_lr_ratio": None,
        "loraplus_lr_embedding": None,
        "lr_groups": None,
    }
    assert rates_of(SimpleNamespace(**unset)).uniform
    assert rates_of(SimpleNamespace(**{**unset, "embedding_lr_scale": 0.5})).embedding == 5e-5
    plus = rates_of(SimpleNamespace(**{**unset, "loraplus_lr_ratio": 16}))
    assert (plus.adapter_b, plus.adapter_embedding) == (pytest.approx(1.6e-3), 1e-6)
