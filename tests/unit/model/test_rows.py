"""Rows outside a range keep their numbers, whatever the optimizer does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runtime.config.problem import UserError
from runtime.model.rows import freeze_rows, hold, read_pattern

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.train


def test_patterns_with_and_without_rows() -> None:
    plain = read_pattern(r"layers.2[0-9]+.mlp")
    assert plain.whole
    assert plain.names.match("layers.21.mlp.up")
    ranged = read_pattern("embed.weight$[:32000]")
    assert (ranged.start, ranged.stop, ranged.whole) == (0, 32000, False)
    assert ranged.names.match("embed.weight")
    assert not ranged.names.match("embed.weights")
    assert (read_pattern("w[5:]").start, read_pattern("w[5:]").stop) == (5, None)


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "Rprop"])
def test_only_rows_in_the_ranges_move(kind: str) -> None:
    import torch

    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(6, 3))
    before = parameter.detach().clone()
    rows = freeze_rows("w", parameter, [(1, 3), (5, None)])
    assert rows is not None
    settings = {} if kind == "Rprop" else {"weight_decay": 0.5}
    optimizer = getattr(torch.optim, kind)([parameter], lr=0.1, **settings)
    hold(optimizer, [rows])
    for _ in range(3):
        (parameter.sum() ** 2).backward()
        optimizer.step()
        optimizer.zero_grad()
    moved = (parameter.detach() != before).any(dim=1).tolist()
    assert moved == [False, True, True, False, False, True]


def test_gradients_of_other_rows_are_zero() -> None:
    import torch

    parameter = torch.nn.Parameter(torch.ones(4, 2))
    freeze_rows("w", parameter, [(0, 1)])
    (parameter * 3).sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [[3.0, 3.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_a_range_of_all_rows_freezes_nothing() -> None:
    import torch

    assert freeze_rows("w", torch.nn.Parameter(torch.ones(4, 2)), [(0, None)]) is None


def _model() -> torch.nn.Module:
    from torch import nn

    return nn.ModuleDict({"embed": nn.Embedding(5, 2), "head": nn.Linear(2, 5)})


def test_patterns_choose_parameters_and_rows() -> None:
    from runtime.model.load import unfreeze_only

    model = _model()
    rows = unfreeze_only(model, ["embed.weight$[2:4]", "head.bias"])  # type: ignore[arg-type]
    assert [(row.name, row.indices.tolist()) for row in rows] == [("embed.weight", [0, 1, 4])]
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == {"embed.weight", "head.bias"}
    assert unfreeze_only(_model(), ["embed[2:4]", "embed.weight"]) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(("pattern", "code"), [("embed[7:]", "out-of-range"), ("nothing[:2]", "unknown-name"), ("([:2]", "wrong-type")])
def test_ranges_that_mean_nothing_are_refused(pattern: str, code: str) -> None:
    from runtime.model.load import unfreeze_only

    with pytest.raises(UserError) as refused:
        unfreeze_only(_model(), [pattern])  # type: ignore[arg-type]
    assert refused.value.problems[0].code == code
