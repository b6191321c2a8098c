"""An optimizer's state comes back by the names of its parameters, from its own form and from a plain run's; other states are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.train

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from runtime.config.problem import UserError  # noqa: E402
from runtime.training.processes import Rank  # noqa: E402
from runtime.training.sharding.optimizer_state import is_stored, read_optimizer, write_optimizer  # noqa: E402
from runtime.training.sharding.tensors import read, write  # noqa: E402

Pair = tuple[nn.Module, "torch.optim.Optimizer"]


def made(kind: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW, *, width: int = 3, seed: int = 0) -> Pair:
    """A small model and its optimizer, in two groups."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, width), nn.Linear(width, 2))
    matrices, vectors = ([p for p in model.parameters() if (p.dim() > 1) is wanted] for wanted in (True, False))
    return model, kind([{"params": matrices, "lr": 0.1}, {"params": vectors, "lr": 0.01}])


def stepped(pair: Pair, times: int = 2) -> Pair:
    """The same after some steps."""
    model, optimizer = pair
    for time in range(times):
        optimizer.zero_grad()
        model(torch.full((1, 4), float(time + 1))).sum().backward()
        optimizer.step()
    return pair


def same_next_step(one: Pair, other: Pair) -> None:
    """Both take the same step next."""
    other[0].load_state_dict(one[0].state_dict())
    for pair in (one, other):
        stepped(pair, 1)
    assert all(torch.equal(first, second) for first, second in zip(one[0].parameters(), other[0].parameters(), strict=True))


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adagrad, torch.optim.RMSprop])
def test_a_state_comes_back_exactly(tmp_path: Path, kind: Callable[..., torch.optim.Optimizer]) -> None:
    one, other = stepped(made(kind)), made(kind, seed=1)
    write_optimizer(one[1], one[0], tmp_path, Rank(), all_write=True)
    assert is_stored(tmp_path)
    one[1].param_groups[0]["lr"] = 0.05
    read_optimizer(other[1], other[0], tmp_path)
    assert other[1].param_groups[0]["lr"] == 0.1
    assert type(other[1].param_groups[0].get("betas", ())) is tuple
    one[1].param_groups[0]["lr"] = 0.1
    same_next_step(one, other)


def test_a_plain_runs_state_is_read_too(tmp_path: Path) -> None:
    one, other = stepped(made()), made(seed=1)
    torch.save(one[1].state_dict(), tmp_path / "optimizer.pt")
    assert not is_stored(tmp_path)
    read_optimizer(other[1], other[0], tmp_path)
    same_next_step(one, other)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    one, wider = stepped(made()), made(width=5)
    write_optimizer(one[1], one[0], tmp_path, Rank(), all_write=True)
    alone = torch.optim.AdamW(one[0].parameters())
    with pytest.raises(UserError, match="its groups of parameters are others"):
        read_optimizer(alone, one[0], tmp_path)
    torch.save(one[1].state_dict(), tmp_path / "optimizer.pt")
    (tmp_path / "optimizer.json").unlink()
    with pytest.raises(UserError, match="its groups of parameters are others"):
        read_optimizer(alone, one[0], tmp_path)
    write(tmp_path, dict(one[0].named_parameters()), Rank(), stem="model", all_write=False)
    with pytest.raises(UserError, match=r"its 0\.weight is 3×4, and this run's 5×4"):
        read(tmp_path, dict(wider[0].named_parameters()), stem="model")
    with pytest.raises(UserError, match=r"it has no 2\.weight"):
        read(tmp_path, {"2.weight": torch.zeros(1)}, stem="model")


def test_a_state_that_is_no_plain_tensor_is_refused(tmp_path: Path) -> None:
    model, optimizer = stepped(made())
    optimizer.state[next(model.parameters())]["blocks"] = [torch.zeros(1)]
    with pytest.raises(UserError, match=r"\(blocks\) cannot be kept in a sharded checkpoint"):
        write_optimizer(optimizer, model, tmp_path, Rank(), all_write=True)
