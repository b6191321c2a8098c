"""Options of loading do what they say to a model on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.model.attention import compile_flex
from runtime.model.experts import check_experts, experts_of
from runtime.model.kernels import kernels_of
from runtime.model.quantization import stored_quantization_of

pytestmark = pytest.mark.train

Make = Callable[..., Any]


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    """The folder of a small mixture of experts."""
    import torch
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    shape = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    MixtralForCausalLM(MixtralConfig(**shape, num_key_value_heads=2, num_local_experts=4)).save_pretrained(tmp_path)
    return tmp_path


def test_experts_are_computed_the_way_that_is_asked_for(mixture: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    ids, outputs = torch.arange(12)[None], {}
    for name in ("eager", "batched_mm", "grouped_mm"):
        asked = SimpleNamespace(experts_implementation=name)
        model = AutoModelForCausalLM.from_pretrained(mixture, **experts_of(asked))
        check_experts(model, asked)
        assert model.config._experts_implementation == name
        outputs[name] = model(input_ids=ids).logits
    torch.testing.assert_close(outputs["eager"], outputs["batched_mm"])
    torch.testing.assert_close(outputs["eager"], outputs["grouped_mm"])


def test_a_choice_of_experts_that_nothing_follows_is_refused(tiny_llama: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no experts"):
        check_experts(tiny_llama(), SimpleNamespace(experts_implementation="eager"))
    check_experts(tiny_llama(), SimpleNamespace(experts_implementation=None))
    monkeypatch.setattr("runtime.model.experts.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs the package kernels"):
        experts_of(SimpleNamespace(experts_implementation="sonicmoe"))


def test_kernels_need_a_gpu_and_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = SimpleNamespace(use_kernels=True)
    assert kernels_of(SimpleNamespace(use_kernels=None), cuda=False) == {}
    with pytest.raises(UserError, match="this machine has none"):
        kernels_of(asked, cuda=False)
    monkeypatch.setattr("transformers.utils.is_kernels_available", lambda: False)
    with pytest.raises(UserError, match="finds none"):
        kernels_of(asked, cuda=True)
    monkeypatch.setattr("transformers.utils.is_kernels_available", lambda: True)
    assert kernels_of(asked, cuda=True) == {"use_kernels": True}


def stored(name: str | None, **arguments: Any) -> Any:
    return stored_quantization_of(SimpleNamespace(model_quantization_config=name, model_quantization_config_kwargs=arguments or None))


def test_a_base_stored_in_few_bits_is_read_by_the_class_that_is_named() -> None:
    from transformers import FineGrainedFP8Config, Mxfp4Config

    assert stored(None) is None
    mxfp4, fp8 = stored("Mxfp4Config", dequantize=True), stored("FineGrainedFP8Config", weight_block_size=[16, 16])
    assert isinstance(mxfp4, Mxfp4Config)
    assert mxfp4.dequantize is True
    assert isinstance(fp8, FineGrainedFP8Config)
    assert fp8.weight_block_size == [16, 16]
    with pytest.raises(UserError, match="no argument dequantise"):
        stored("Mxfp4Config", dequantise=True)
    with pytest.raises(UserError, match="scheme"):
        stored("FineGrainedFP8Config", activation_scheme="other")


def test_a_base_in_8_bit_floats_is_widened_while_it_loads(tiny_llama: Make, tmp_path: Path) -> None:
    import json

    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    model = tiny_llama(hidden_size=32, intermediate_size=32, num_key_value_heads=2, tie_word_embeddings=False)
    model.save_pretrained(tmp_path)
    weights, plain = load_file(tmp_path / "model.safetensors"), {}
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        plain[name], scale = weights[name], weights[name].abs().max() / 448
        weights[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
        weights[name.replace(".weight", ".weight_scale_inv")] = scale.reshape(1, 1)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 32]}
    (tmp_path / "config.json").write_text(json.dumps(config))

    reader = stored("FineGrainedFP8Config", dequantize=True, weight_block_size=[32, 32])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=reader, dtype=torch.float32)
    for name, weight in plain.items():
        read = loaded.get_parameter(name)
        assert read.dtype.itemsize >= 2
        torch.testing.assert_close(read.float(), weight, rtol=0.07, atol=1e-3)


def test_flex_attention_is_compiled_as_asked(tiny_llama: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers.integrations import flex_attention

    monkeypatch.setattr(flex_attention, "WrappedFlexAttention", flex_attention.WrappedFlexAttention)
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda function, **settings: told.append(settings) or function)
    compile_flex(SimpleNamespace(flex_attn_compile_kwargs={"dynamic": False, "backend": "eager"}), "flex_attention")
    assert told == [{"dynamic": False, "backend": "eager"}]
    model = tiny_llama(hidden_size=32, attn_implementation="flex_attention").train()
    plain = tiny_llama(hidden_size=32, attn_implementation="eager").train()
    ids = torch.arange(16)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert told.count({"dynamic": False, "backend": "eager"}) == 1
    compile_flex(SimpleNamespace(flex_attn_compile_kwargs=None), "sdpa")
    with pytest.raises(UserError, match="uses sdpa"):
        compile_flex(SimpleNamespace(flex_attn_compile_kwargs={"dynamic": False}), "sdpa")
