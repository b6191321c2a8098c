"""Spectrum tells signal from noise, layer by layer, and chooses among layers of a kind."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from runtime.model.spectrum import fingerprint, kind_of, matrices, patterns, signal_to_noise, strongest

pytestmark = pytest.mark.train


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 8)
        self.layers = nn.ModuleList(nn.ModuleDict({"up": nn.Linear(8, 16), "norm": nn.LayerNorm(8)}) for _ in range(4))
        self.experts = nn.ParameterList([nn.Parameter(torch.randn(3, 8, 8))])
        self.head = nn.Linear(8, 11, bias=False)

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def noise(rows: int = 60, columns: int = 90, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_the_ratio_is_that_of_the_singular_values() -> None:
    weight = noise(40, 25)
    values = torch.linalg.svdvals(weight.double())
    edge = (values.quantile(0.75) - values.quantile(0.25)) / 1.349 * (1 + math.sqrt(25 / 40))
    expected = values[values > edge].sum() / values[values <= edge].sum() / values[0]
    assert signal_to_noise(weight) == pytest.approx(float(expected), rel=1e-9)
    assert signal_to_noise(weight.T) == pytest.approx(float(expected), rel=1e-9)
    assert signal_to_noise(weight * 4) == pytest.approx(float(expected) / 4, rel=1e-9)


def test_stacks_are_averaged_and_zeros_carry_nothing() -> None:
    pair = torch.stack([noise(seed=1), noise(seed=2)])
    assert signal_to_noise(pair) == pytest.approx((signal_to_noise(pair[0]) + signal_to_noise(pair[1])) / 2)
    assert signal_to_noise(torch.zeros(3, 4)) == 0
    assert signal_to_noise(torch.eye(4)) == math.inf


def test_only_matrices_of_numbered_layers_are_compared() -> None:
    assert [name for name, _ in matrices(Toy())] == [*(f"layers.{layer}.up.weight" for layer in range(4)), "experts.0"]


def test_the_strongest_of_each_kind_are_chosen() -> None:
    ratios = {"a.0.up.weight": 1.0, "a.1.up.weight": 9.0, "a.2.up.weight": 3.0, "a.0.down.weight": 0.1, "a.1.down.weight": 0.1}
    assert {kind_of(name) for name in ratios} == {"a.#.up.weight", "a.#.down.weight"}
    assert strongest(ratios, 0.67) == ["a.1.up.weight", "a.2.up.weight", "a.0.down.weight"]
    assert strongest(ratios, 0.01) == ["a.1.up.weight", "a.0.down.weight"]


@given(st.lists(st.floats(0, 9), min_size=1, max_size=30), st.integers(1, 100), st.integers(1, 100))
def test_a_larger_share_keeps_what_a_smaller_one_chose(values: list[float], one: int, other: int) -> None:
    ratios = {f"layers.{number}.up.weight": value for number, value in enumerate(values)}
    small, large = sorted((one, other))
    assert set(strongest(ratios, small / 100)) <= set(strongest(ratios, large / 100))
    assert len(strongest(ratios, small / 100)) == max(1, small * len(values) // 100)


def test_chosen_matrices_train_with_their_biases_and_with_embeddings_and_head() -> None:
    model = Toy()
    wanted = [re.compile(pattern) for pattern in patterns(["layers.2.up.weight", "experts.0"], model)]
    trained = {name for name, _ in model.named_parameters() if any(pattern.match(name) for pattern in wanted)}
    assert trained == {"layers.2.up.weight", "layers.2.up.bias", "experts.0", "embed.weight", "head.weight"}


def test_other_weights_have_another_fingerprint() -> None:
    one, other = Toy(), Toy()
    assert fingerprint(one) == fingerprint(other)
    with torch.no_grad():
        other.layers[3]["up"].weight.mul_(1.01)
    assert fingerprint(one) != fingerprint(other)
