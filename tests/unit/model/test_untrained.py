"""Rows of tokens a base never saw start from the mean of the others."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.model.untrained import fix_untrained

pytestmark = pytest.mark.train

Make = Callable[..., Any]


@pytest.mark.parametrize("tied", [True, False])
def test_the_named_rows_become_the_mean_of_the_trained_ones(tied: bool, tiny_llama: Make) -> None:
    import torch

    model = tiny_llama(tie_word_embeddings=tied)
    tables = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    for table in tables:
        table.data[5] = 0
        table.data[9] = 100.0
        table.data[11] = 0
    before = [table.detach().clone() for table in tables]
    assert fix_untrained(model, SimpleNamespace(fix_untrained_tokens=[9, 11, 9])) == 2
    for table, old in zip(tables, before, strict=True):
        trained = [row for row in range(32) if row not in (5, 9, 11)]
        mean = old[trained].double().mean(dim=0).float()
        torch.testing.assert_close(table[[9, 11]], mean.expand(2, -1))
        untouched = [row for row in range(32) if row not in (9, 11)]
        assert torch.equal(table[untouched], old[untouched])


def test_one_id_is_enough_and_none_is_nothing(tiny_llama: Make) -> None:
    assert fix_untrained(tiny_llama(), SimpleNamespace(fix_untrained_tokens=3)) == 1
    assert fix_untrained(tiny_llama(), SimpleNamespace(fix_untrained_tokens=None)) == 0


@pytest.mark.parametrize(("tokens", "said"), [([32], "outside the 32"), (list(range(32)), "no trained embedding")])
def test_what_cannot_be_fixed_is_refused(tokens: list[int], said: str, tiny_llama: Make) -> None:
    with pytest.raises(UserError, match=said):
        fix_untrained(tiny_llama(), SimpleNamespace(fix_untrained_tokens=tokens))
