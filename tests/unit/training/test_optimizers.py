"""Optimizers built here: who gets which parameters, which settings arrive, and what a missing package says."""

from __future__ import annotations

import io
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runtime.config import choices
from runtime.config.problem import UserError
from runtime.training.optimizers.named import NAMES, arguments_of, named_optimizer
from runtime.training.optimizers.packages import GPU_ONLY, PACKAGES, require_package

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.train

UNSET = {
    "learning_rate": 0.01,
    "optim_args": None,
    "adam_beta1": None,
    "adam_beta2": None,
    "adam_beta3": None,
    "adam_epsilon": None,
    "adam_epsilon2": None,
}
# What transformers builds from torch and from itself alone.
BARE = {"adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop", "muon"}


def recipe(name: str, **options: Any) -> Any:
    return SimpleNamespace(**{**UNSET, "optimizer": name, **options})


def network() -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.ModuleDict({"embed": nn.Embedding(6, 16), "up": nn.Linear(16, 16), "down": nn.Linear(16, 16), "lm_head": nn.Linear(16, 6)})


def groups_of(model: Any) -> list[dict[str, Any]]:
    slow = [model["down"].weight]
    rest = [parameter for parameter in model.parameters() if parameter is not slow[0]]
    return [{"params": rest, "lr": 0.01, "weight_decay": 0.1}, {"params": slow, "lr": 0.001, "weight_decay": 0.0}]


def step(model: Any, optimizer: torch.optim.Optimizer, seed: int) -> None:
    import torch

    torch.manual_seed(seed)
    hidden = model["up"](model["embed"](torch.randint(6, (4,))))
    model["lm_head"](model["down"](hidden)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_every_optimizer_that_is_offered_has_its_package_named() -> None:
    assert set(PACKAGES) - choices.optimizers().known | BARE == choices.optimizers().built
    assert set(PACKAGES) >= GPU_ONLY


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_missing_package_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.training.optimizers.packages.find_spec", lambda module: None)
    with pytest.raises(UserError) as refused:
        require_package(recipe(name), cuda=True)
    problem = refused.value.problems[0]
    assert (problem.code, problem.path) == ("unsupported", "optimizer")
    assert PACKAGES[name].module in problem.message
    assert problem.fix == PACKAGES[name].fix


def test_what_needs_a_gpu_says_so() -> None:
    with pytest.raises(UserError, match="needs a GPU"):
        require_package(recipe("galore_adamw_8bit"), cuda=False)
    require_package(recipe("muon"), cuda=False)


def test_muon_takes_the_matrices_inside_and_keeps_rates_apart() -> None:
    model = network()
    named = named_optimizer(recipe("muon", optim_args={"momentum": 0.9}))
    assert named is not None
    optimizer = named.over(groups_of(model), model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [
        ({names[id(parameter)] for parameter in group["params"]}, "momentum" in group, group["lr"]) for group in optimizer.param_groups
    ]
    assert found == [
        ({"up.weight"}, True, 0.01),
        ({"down.weight"}, True, 0.001),
        ({"embed.weight", "up.bias", "down.bias", "lm_head.weight", "lm_head.bias"}, False, 0.01),
    ]
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_muon_over_adapters_alone_and_over_no_matrix() -> None:
    model = network()
    named = named_optimizer(recipe("muon"))
    assert named is not None
    for chosen in ([model["up"].weight], [model["up"].bias]):
        optimizer = named.over([{"params": chosen, "lr": 0.1, "weight_decay": 0.0}], model)
        before = chosen[0].detach().clone()
        step(model, optimizer, 1)
        assert not bool((chosen[0] == before).all())


@pytest.mark.parametrize("name", sorted(NAMES - {"ao_adamw_4bit", "ao_adamw_8bit", "ao_adamw_fp8"}))
def test_a_state_that_is_stored_and_read_back_goes_on_bit_for_bit(name: str) -> None:
    import torch

    if name in PACKAGES and find_spec(PACKAGES[name].module) is None:
        pytest.skip(f"{PACKAGES[name].module} is not installed")
    named = named_optimizer(recipe(name))
    assert named is not None
    straight = network()
    optimizer = named.over(groups_of(straight), straight)
    for seed in range(3):
        step(straight, optimizer, seed)
    stored = io.BytesIO()
    torch.save({"model": straight.state_dict(), "optimizer": optimizer.state_dict()}, stored)
    stored.seek(0)
    kept = torch.load(stored, weights_only=True)
    resumed = network()
    resumed.load_state_dict(kept["model"])
    again = named.over(groups_of(resumed), resumed)
    again.load_state_dict(kept["optimizer"])
    for seed in range(3, 6):
        step(straight, optimizer, seed)
        step(resumed, again, seed)
    assert all(torch.equal(one, other) for one, other in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_settings_of_a_recipe_arrive() -> None:
    came = named_optimizer(recipe("came_pytorch", adam_beta3=0.5, adam_epsilon2=1e-9))
    assert came is not None
    assert came.settings == {"lr": 0.01, "betas": (0.9, 0.999, 0.5), "eps": (1e-30, 1e-9)}
    lion = named_optimizer(recipe("lion_pytorch", adam_beta2=0.95, optim_args="use_triton=false, decoupled_weight_decay=true"))
    assert lion is not None
    assert lion.settings == {"lr": 0.01, "betas": (0.9, 0.95), "use_triton": False, "decoupled_weight_decay": True}
    adopt, optimi = named_optimizer(recipe("adopt_adamw")), named_optimizer(recipe("optimi_adamw", adam_epsilon=1e-7))
    assert adopt is not None
    assert adopt.settings == {"lr": 0.01, "betas": (0.9, 0.9999), "eps": 1e-6}
    assert optimi is not None
    assert optimi.settings == {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-7}
    assert named_optimizer(recipe("adamw_torch")) is None


def test_a_setting_the_optimizer_does_not_have_is_refused() -> None:
    model = network()
    named = named_optimizer(recipe("muon", optim_args={"momentun": 0.9}))
    assert named is not None
    with pytest.raises(UserError, match="momentun"):
        named.over(groups_of(model), model)


def test_arguments_as_text_and_as_a_mapping() -> None:
    assert arguments_of("rank=4, scale = 0.5,kind=std") == arguments_of({"rank": 4, "scale": 0.5, "kind": "std"})
    assert arguments_of(None) == arguments_of("") == {}
