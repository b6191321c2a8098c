"""A run that asked for shards and has none is refused; mixed precision keeps the loss in 32 bits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

import pytest

pytestmark = pytest.mark.train

torch = pytest.importorskip("torch")

from runtime.config.problem import UserError  # noqa: E402
from runtime.training.processes import Rank  # noqa: E402
from runtime.training.sharding.loading import match_first, reads_base  # noqa: E402
from runtime.training.sharding.settings import Sharding  # noqa: E402
from runtime.training.sharding.wrapping import complete, require_sharded  # noqa: E402

TWO = Sharding(plugin={"cpu_offload": False, "cpu_ram_efficient_loading": True}, shards=2)


class Told(Rank):
    """Another process than the first, which has told what it has."""

    said: ClassVar[dict[str, torch.dtype]] = {}

    def share(self, value: object) -> object:
        """What the first process said."""
        return self.said if value is None else value


def test_whole_copies_are_not_taken_for_shards() -> None:
    with pytest.raises(UserError, match=r"the model was not sharded: every process holds all of weight"):
        require_sharded(torch.nn.Linear(2, 2), TWO)


def test_mixed_precision_gathers_in_16_bits_and_leaves_the_loss_alone() -> None:
    plugin = SimpleNamespace(mixed_precision_policy=None, cpu_offload=True)
    complete(plugin, TWO, mixed="no")
    assert plugin.mixed_precision_policy is None
    complete(plugin, TWO, mixed="bf16")
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (torch.bfloat16, torch.bfloat16, None)


def test_a_process_without_values_takes_the_formats_of_the_first() -> None:
    assert reads_base(TWO, Rank(world_size=2))
    assert not reads_base(TWO, Rank(index=1, world_size=2))
    assert reads_base(None, Rank(index=1, world_size=2))
    rank = Told(index=1, world_size=2)
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    Told.said = {"weight": torch.bfloat16, "bias": torch.bfloat16}
    match_first(model, TWO, rank, mixed=True)
    assert (model.weight.dtype, model.bias.dtype) == (torch.float32, torch.bfloat16)
    Told.said = {"weight": torch.bfloat16}
    with pytest.raises(UserError, match="bias is no parameter that all of them have"):
        match_first(model, TWO, rank, mixed=True)
