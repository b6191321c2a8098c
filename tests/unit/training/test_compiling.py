"""What the compiler is told reaches torch.compile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.training.compiling import compiler_settings, compiles

pytestmark = pytest.mark.train


def config(**given: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"torch_compile": True, "torch_compile_options": None, "torch_compile_regional": None, **given})


def test_settings_count_only_while_compiling() -> None:
    assert compiler_settings(config()) == {}
    asked = {"torch_compile_options": {"shape_padding": True}, "torch_compile_regional": True}
    assert compiler_settings(config(**asked)) == {"options": {"shape_padding": True}, "use_regional_compilation": True}
    assert compiler_settings(config(torch_compile=None, **asked)) == {}
    assert compiles(config(torch_compile="auto"))
    assert not compiles(config(torch_compile=False))


def test_accelerate_hands_them_to_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import TorchDynamoPlugin

    told: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda model, **settings: told.append(settings) or model)
    plugin = TorchDynamoPlugin(backend="inductor")
    for name, value in compiler_settings(config(torch_compile_options={"shape_padding": True})).items():
        setattr(plugin, name, value)
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        accelerator = Accelerator(cpu=True, dynamo_plugin=plugin)
        accelerator.prepare_model(torch.nn.Linear(1, 1))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    (settings,) = told
    assert settings["options"] == {"shape_padding": True}
    assert settings.get("mode") is None
