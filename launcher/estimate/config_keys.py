"""What a config.json says under its many names: widths, layers, heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = Mapping[str, Any]


def hidden_of(config: Config) -> int:
    """Width of the residual stream. Raises KeyError when no key says it."""
    for key in ("hidden_size", "n_embd", "d_model"):
        if config.get(key):
            return int(config[key])
    raise KeyError("hidden_size")


def layers_of(config: Config) -> int:
    """Number of decoder layers. Raises KeyError when no key says it."""
    for key in ("num_hidden_layers", "n_layer", "n_layers"):
        if config.get(key):
            return int(config[key])
    raise KeyError("num_hidden_layers")


def heads_of(config: Config) -> int:
    """Query heads. Raises KeyError when no key says it."""
    for key in ("num_attention_heads", "n_head", "n_heads"):
        if config.get(key):
            return int(config[key])
    raise KeyError("num_attention_heads")


def kv_heads_of(config: Config) -> int:
    """Key-value heads; as many as query heads when no key says it."""
    return int(config.get("num_key_value_heads") or heads_of(config))


def head_dim_of(config: Config, default: int | None = None) -> int:
    """Width of one head; `default` where the architecture has one of its own."""
    return int(config.get("head_dim") or default or hidden_of(config) // heads_of(config))


def flag(config: Config, key: str, default: bool = False) -> bool:
    """A boolean key, with the architecture's default where it is missing or null."""
    value = config.get(key)
    return default if value is None else bool(value)


def window_of(config: Config) -> int | None:
    """Sliding attention window in tokens, None where any layer attends to everything."""
    if config.get("use_sliding_window") is False:
        return None
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and any(kind == "full_attention" for kind in kinds):
        return None  # at least one layer attends to everything; memory follows that one
    window = config.get("sliding_window")
    return int(window) if window else None
