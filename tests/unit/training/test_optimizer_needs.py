"""What an optimizer will hold is foretold to the byte, without a step of it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.training.meter import Reading

pytestmark = pytest.mark.train


class Exact:
    """A device on which a step needs `extra` bytes beyond parameter, gradient and state."""

    place, exact = "this GPU", True

    def __init__(self, extra: int = 0, *, ended: bool = True) -> None:
        self.extra, self.ended = extra, ended

    def room(self) -> dict[str, int]:
        return {"cpu": 10**9}

    def held(self) -> dict[str, int]:
        return {"cpu": 1000}

    def reading_of(self, work: Callable[[], object]) -> Reading:
        work()
        rehearsal: Any = work
        taken = 2 * rehearsal._parameter.numel() * rehearsal._parameter.element_size() + rehearsal.states["cpu"]
        return Reading(peak={"cpu": 1000 + taken + self.extra}, ended=self.ended)


def network() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    parts = {"embed": nn.Embedding(20, 512), "up": nn.Linear(512, 64), "up_too": nn.Linear(512, 64), "lm_head": nn.Linear(64, 20)}
    return nn.ModuleDict(parts)


def step(model: Any, optimizer: Any) -> None:
    import torch

    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()


def held(optimizer: Any) -> int:
    from runtime.training.optimizers.needs import _tensors

    return sum(tensor.numel() * tensor.element_size() for state in optimizer.state.values() for tensor in _tensors(state.values()))


def from_recipe(name: str, model: Any) -> tuple[Any, Any]:
    """The optimizer of a recipe, as the trainer makes it, and what makes another."""
    from transformers import Trainer, TrainingArguments

    from runtime.training.optimizers.named import named_optimizer
    from runtime.training.optimizers.needs import builder

    unset = {"optim_args": None, "adam_beta1": None, "adam_beta2": None, "adam_beta3": None, "adam_epsilon": None, "adam_epsilon2": None}
    own = named_optimizer(SimpleNamespace(**unset, optimizer=name, learning_rate=0.01))
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1, "lr": 0.01},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0, "lr": 0.01},
    ]
    if own is not None:
        made = own.over(groups, model)
        return made, builder(made, own, None, {})
    kind, settings = Trainer.get_optimizer_cls_and_kwargs(TrainingArguments(optim=name, use_cpu=True, learning_rate=0.01), model)
    made = kind(groups, **settings)
    return made, builder(made, None, kind, settings)


@pytest.fixture(autouse=True)
def no_exceptions_of_earlier_tests() -> None:
    """bitsandbytes' table of exceptions is one for the whole process, and goes by `id`s that are given again."""
    if find_spec("bitsandbytes") is not None:
        from bitsandbytes.optim import GlobalOptimManager

        GlobalOptimManager.get_instance().initialize()


PACKAGES = {
    "adamw_bnb_8bit": "bitsandbytes",
    "schedule_free_adamw": "schedulefree",
    "lion_pytorch": "lion_pytorch",
    "came_pytorch": "came_pytorch",
}


@pytest.mark.parametrize(
    "name",
    ["adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "rmsprop", "muon", *PACKAGES],
)
def test_the_states_are_foretold_to_the_byte(name: str) -> None:
    from runtime.training.optimizers.needs import optimizer_needs

    if name in PACKAGES and find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed here")
    model = network()
    made, build = from_recipe(name, model)
    # Only the Trainer tells bitsandbytes about embeddings.
    names = {} if "bnb" in name else {id(parameter): name for name, parameter in model.named_parameters()}
    before = [parameter.detach().clone() for parameter in model.parameters()]
    needs = optimizer_needs(made, build, names, Exact())
    assert not any(made.state.values()), "the optimizer itself has not stepped"
    assert all((old == new).all() for old, new in zip(before, model.parameters(), strict=True))
    step(model, made)
    assert needs.states.get("cpu", 0) == held(made)
    assert needs.fits
    # What came with a checkpoint is held already.
    assert sum(optimizer_needs(made, build, names, Exact()).states.values()) == 0


def test_bitsandbytes_holds_embeddings_whole() -> None:
    pytest.importorskip("bitsandbytes")
    from runtime.training.optimizers.needs import optimizer_needs

    model = network()
    made, build = from_recipe("adamw_bnb_8bit", model)
    plain = optimizer_needs(made, build, {}, Exact()).states["cpu"]
    named = optimizer_needs(made, build, {id(p): name for name, p in model.named_parameters()}, Exact()).states["cpu"]
    assert named > plain + 5 * 20 * 512


def test_exceptions_made_for_the_run_do_not_change_what_is_foretold() -> None:
    optim = pytest.importorskip("bitsandbytes.optim")
    from runtime.training.optimizers.needs import optimizer_needs

    model = network()
    made, build = from_recipe("adamw_bnb_8bit", model)
    plain = optimizer_needs(made, build, {}, Exact()).states
    optim.GlobalOptimManager.get_instance().index2config[(0, 0)] = {"optim_bits": 32}
    assert optimizer_needs(made, build, {}, Exact()).states == plain


@pytest.mark.parametrize(("foreach", "expected"), [(True, 7 * 100), (False, 100)])
def test_temporary_bytes_are_those_of_all_parameters_or_of_the_largest(foreach: bool, expected: int) -> None:
    import torch

    from runtime.training.optimizers.needs import builder, optimizer_needs

    model = network()
    made = torch.optim.AdamW(model.parameters(), lr=0.01, foreach=foreach)
    needs = optimizer_needs(made, builder(made, None, None, {}), {}, Exact(extra=100))
    assert len(list(model.parameters())) == 7
    assert needs.temporary == {"cpu": expected}


def test_an_optimizer_that_cannot_be_made_anew_counts_as_adamw() -> None:
    import torch

    from runtime.training.optimizers.needs import builder, optimizer_needs

    class Own(torch.optim.SGD):
        def __init__(self, model: Any) -> None:
            super().__init__(model.parameters(), lr=0.1)

    model = network()
    made = Own(model)
    needs = optimizer_needs(made, builder(made, None, None, {}), {}, Exact())
    assert needs.states == {"cpu": 8 * sum(parameter.numel() for parameter in model.parameters())}


def test_no_room_even_for_one_parameter_is_told() -> None:
    import torch

    from runtime.training.optimizers.needs import builder, optimizer_needs

    made = torch.optim.SGD(network().parameters(), lr=0.1)
    assert not optimizer_needs(made, builder(made, None, None, {}), {}, Exact(ended=False)).fits
