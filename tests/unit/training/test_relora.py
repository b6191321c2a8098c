"""A restart of ReLoRA leaves the model's answers as they are, and everything it needs is in the checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError

pytestmark = pytest.mark.train


def small(targets: tuple[str, ...] = ("up", "down"), tied: bool = False, dtype: str = "float32") -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(11, 6)
            self.up = nn.Linear(6, 9)
            self.down = nn.Linear(9, 6, bias=False)
            self.head = nn.Linear(6, 11, bias=False)
            if tied:
                self.head.weight = self.embed.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.down(torch.tanh(self.up(self.embed(ids)))))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    return get_peft_model(Small().to(getattr(torch, dtype)), LoraConfig(r=3, lora_alpha=6, target_modules=list(targets)))  # type: ignore[arg-type]


def trained(model: Any, steps: int = 3) -> Any:
    import torch

    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.05)
    for step in range(steps):
        model(torch.tensor([[1, 2, 3 + step]])).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def recipe(**options: Any) -> Any:
    unset = {
        "relora": True,
        "jagged_restart_steps": 4,
        "seed": 7,
        "relora_prune_method": None,
        "relora_prune_ratio": None,
        "relora_cpu_offload": None,
    }
    return SimpleNamespace(**{**unset, **options})


@pytest.mark.parametrize("targets", [("up", "down"), ("embed", "up")])
@pytest.mark.parametrize("on_cpu", [False, True])
def test_a_restart_changes_the_weights_and_not_the_answers(targets: tuple[str, ...], on_cpu: bool) -> None:
    import torch

    from runtime.training.relora import base_state, relora_of

    model = small(targets)
    optimizer = trained(model)
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    before, base, parameters = model(ids), base_state(model), list(model.parameters())
    relora = relora_of(recipe(relora_cpu_offload=on_cpu))
    assert relora is not None
    relora.restart(model, optimizer, 4)
    assert torch.allclose(model(ids), before, atol=1e-5)
    assert all(not torch.equal(weight, base[name]) for name, weight in base_state(model).items())
    zeros = [name for name, parameter in model.named_parameters() if "lora_" in name and not parameter.any()]
    assert len(zeros) == len(targets)
    assert all(old is new for old, new in zip(parameters, model.parameters(), strict=True))


def test_a_restart_is_a_function_of_seed_and_step_and_moves_no_other_randomness() -> None:
    import torch

    from runtime.model.adapter import adapter_state
    from runtime.training.relora import relora_of

    states, drawn = [], []
    for seed, step in ((7, 4), (7, 4), (7, 8), (8, 4)):
        model = small()
        optimizer = trained(model)
        torch.manual_seed(99)
        relora = relora_of(recipe(seed=seed, relora_prune_method="random"))
        assert relora is not None
        relora.restart(model, optimizer, step)
        drawn.append(float(torch.rand(())))
        states.append({**adapter_state(model), "state": next(iter(optimizer.state.values()))["exp_avg"]})
    same = [all(torch.equal(states[0][name], state[name]) for name in states[0]) for state in states]
    assert same == [True, True, False, False]
    assert len(set(drawn)) == 1


@pytest.mark.parametrize(("method", "ratio", "kept"), [(None, None, 3), ("magnitude", 0.5, 13), ("random", 0.25, 20), ("reset", 0.75, 7)])
def test_the_optimizer_forgets_the_share_it_is_told(method: str | None, ratio: float | None, kept: int) -> None:
    import torch

    from runtime.training.relora import relora_of

    model = small(("down",))
    optimizer = trained(model)
    name, parameter = next((name, parameter) for name, parameter in model.named_parameters() if "lora_A" in name)
    assert parameter.numel() == 27, name
    before = optimizer.state[parameter]["exp_avg_sq"].clone()
    relora = relora_of(recipe(relora_prune_method=method, relora_prune_ratio=ratio))
    assert relora is not None
    relora.restart(model, optimizer, 4)
    after = optimizer.state[parameter]["exp_avg_sq"]
    assert int((after != 0).sum()) == kept
    assert torch.equal(after[after != 0], before[after != 0])
    if method in (None, "magnitude"):
        assert before[after == 0].max() <= after[after != 0].min()


def test_a_reset_forgets_everything() -> None:
    from runtime.training.relora import relora_of

    model = small(("down",))
    optimizer = trained(model)
    relora = relora_of(recipe(relora_prune_method="reset"))
    assert relora is not None
    relora.restart(model, optimizer, 4)
    assert not optimizer.state


def test_the_base_of_a_checkpoint_is_put_back_bit_for_bit(tmp_path: Path) -> None:
    import torch

    from runtime.training.relora import base_state, load_base, relora_of, save_base

    model = small(dtype="bfloat16")
    relora = relora_of(recipe())
    assert relora is not None
    relora.restart(model, trained(model), 4)
    kept = base_state(model)
    save_base(model, tmp_path)
    fresh = small(dtype="bfloat16")
    load_base(fresh, tmp_path)
    assert all(torch.equal(weight, kept[name]) for name, weight in base_state(fresh).items())
    with pytest.raises(UserError, match="does not hold the base weights"):
        load_base(small(("up",)), tmp_path)


def test_a_weight_that_two_layers_share_is_refused() -> None:
    from runtime.training.relora import check_layers

    check_layers(small(("up", "head")))
    check_layers(small(("up",), tied=True))
    with pytest.raises(UserError, match="shared by 2 layers"):
        check_layers(small(("up", "head"), tied=True))


def test_the_last_adapter_is_not_restarted() -> None:
    from runtime.training.relora import relora_of

    relora = relora_of(recipe())
    assert relora is not None
    assert [relora.due(step, last=step == 12) for step in (3, 4, 8, 12)] == [False, True, True, False]
    assert relora_of(recipe(relora=None)) is None
