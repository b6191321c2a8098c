"""Normalization in 32 bit inside a model of fewer bits."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.model.norms import raise_norms

pytestmark = pytest.mark.train

Make = Callable[..., Any]


def config(**given: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"fp32_norms": True, "fp32_norm_classes": None, **given})


def test_every_norm_is_32_bit_and_the_rest_stays(tiny_llama: Make) -> None:
    import torch

    model = tiny_llama().to(torch.bfloat16)
    assert raise_norms(model, config()) == 5
    formats = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert {dtype for name, dtype in formats.items() if "norm" in name} == {torch.float32}
    assert {dtype for name, dtype in formats.items() if "norm" not in name} == {torch.bfloat16}


def test_layers_around_a_norm_see_the_format_they_had_and_the_norm_rounds_once(tiny_llama: Make) -> None:
    import torch

    plain, raised = tiny_llama().to(torch.bfloat16), tiny_llama().to(torch.bfloat16)
    norm = plain.model.norm
    norm.weight.data.uniform_(0.5, 1.5)
    raised.model.norm.load_state_dict(norm.state_dict())
    exact = tiny_llama().float().model.norm
    exact.load_state_dict({"weight": norm.weight.float()})
    raise_norms(raised, config())
    hidden = torch.randn(1, 64, 16, dtype=torch.bfloat16)
    out = raised.model.norm(hidden)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out, exact(hidden.float()).to(torch.bfloat16), rtol=0, atol=0)
    assert not torch.equal(norm(hidden), out)


def test_a_step_without_autocast_reaches_the_norms(tiny_llama: Make) -> None:
    import torch

    model = tiny_llama().to(torch.bfloat16)
    raise_norms(model, config())
    ids = torch.arange(12)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    gradient = model.model.layers[0].input_layernorm.weight.grad
    assert gradient.dtype == torch.float32
    assert bool(gradient.abs().sum() > 0)


def test_classes_are_chosen_by_the_end_of_their_name_or_in_full(tiny_llama: Make) -> None:
    assert raise_norms(tiny_llama(), config(fp32_norm_classes=["LlamaRMSNorm"])) == 5
    assert raise_norms(tiny_llama(), config(fp32_norm_classes=["transformers.models.llama.modeling_llama.LlamaRMSNorm"])) == 5
    assert raise_norms(tiny_llama(), config(fp32_norms=None)) == 0
    with pytest.raises(UserError, match="AfmoeRMSNorm"):
        raise_norms(tiny_llama(), config(fp32_norm_classes=["AfmoeRMSNorm"]))
