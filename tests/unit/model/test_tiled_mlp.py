"""An MLP in pieces gives what the whole one gives, with less held at a time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.model.tiled_mlp import tile_mlps

pytestmark = pytest.mark.train

Make = Callable[..., Any]


def config(shards: int | None = None) -> SimpleNamespace:
    return SimpleNamespace(tiled_mlp=True, tiled_mlp_num_shards=shards)


def step(model: Any, ids: Any) -> tuple[Any, dict[str, Any]]:
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("shards", [None, 1, 3, 64])
def test_loss_and_gradients_are_those_of_the_whole(shards: int | None, tiny_llama: Make) -> None:
    import torch

    ids = torch.randint(0, 32, (2, 37), generator=torch.Generator().manual_seed(1))
    whole, tiled = tiny_llama().double(), tiny_llama().double()
    assert tile_mlps(tiled, config(shards)) == 2
    (loss, gradients), (tiled_loss, tiled_gradients) = step(whole, ids), step(tiled, ids)
    torch.testing.assert_close(tiled_loss, loss)
    for name, gradient in gradients.items():
        torch.testing.assert_close(tiled_gradients[name], gradient, msg=name)


@pytest.mark.parametrize(("shards", "expected"), [(4, [10, 10, 10, 7]), (None, [13, 13, 11])])
def test_pieces_are_computed_one_after_the_other_and_again_in_the_backward_pass(
    shards: int | None, expected: list[int], tiny_llama: Make
) -> None:
    import torch

    model, seen = tiny_llama(num_hidden_layers=1), []
    model.model.layers[0].mlp.gate_proj.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[-2]))
    tile_mlps(model, config(shards))
    ids = torch.zeros((1, 37), dtype=torch.long)
    loss = model(input_ids=ids, labels=ids).loss
    assert seen == expected
    loss.backward()
    assert seen == expected + expected[::-1]
    seen.clear()
    with torch.no_grad():
        model(input_ids=ids)
    assert seen == expected


def test_it_works_under_an_adapter_and_inside_checkpointed_layers(tiny_llama: Make) -> None:
    import peft
    import torch

    ids = torch.randint(0, 32, (1, 40), generator=torch.Generator().manual_seed(1))

    def adapted(tiles: bool) -> dict[str, Any]:
        model = tiny_llama().double()
        torch.manual_seed(1)
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights="gaussian"))
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter)
        if tiles:
            tile_mlps(model, config(4))
        model.activation_checkpointing_enable()
        return {name: gradient for name, gradient in step(model.train(), ids)[1].items() if gradient is not None}

    whole, tiled = adapted(False), adapted(True)
    assert len(whole) == 28
    for name, gradient in whole.items():
        torch.testing.assert_close(tiled[name], gradient, msg=name)


def test_a_model_without_such_layers_is_refused() -> None:
    import torch

    with pytest.raises(UserError, match="no layer"):
        tile_mlps(torch.nn.Linear(2, 2), config())
    assert tile_mlps(torch.nn.Linear(2, 2), SimpleNamespace(tiled_mlp=None, tiled_mlp_num_shards=None)) == 0
