"""How a run compiles its model, beyond what the Trainer's arguments can say."""

from __future__ import annotations

from typing import Any


def compiles(config: Any) -> bool:
    """Whether torch.compile is on: asked for, `auto`, or meant by one of its settings."""
    return config.torch_compile in (True, "auto")


def compiler_settings(config: Any) -> dict[str, Any]:
    """Values for accelerate's TorchDynamoPlugin; empty when the model is not compiled.

    `torch_compile_regional` compiles one of the repeated layers and uses it for all of them; `torch_compile_options` goes to the backend as it is.
    """
    if not compiles(config):
        return {}
    settings: dict[str, Any] = {}
    if config.torch_compile_options:
        settings["options"] = dict(config.torch_compile_options)
    if config.torch_compile_regional:
        settings["use_regional_compilation"] = True
    return settings
