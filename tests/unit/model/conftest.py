"""A model small enough to build in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def tiny_llama() -> Callable[..., Any]:
    """Makes a Llama of two layers with random weights, always the same ones; keywords change its shape."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(**settings: Any) -> Any:
        torch.manual_seed(0)
        shape = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
        return LlamaForCausalLM(LlamaConfig(**{**shape, "use_cache": False, **settings}))

    return make
