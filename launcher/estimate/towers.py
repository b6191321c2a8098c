"""Elements of the vision half of vision-language models: the encoder, and what leads from it into the language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from launcher.estimate.config_keys import Config

TEXT_ONLY = frozenset({"qwen3_5", "qwen3_5_moe", "llama4"})
"""Models whose class for causal language models leaves the vision half out (transformers 5.23)."""


def tower_parameters(config: Config) -> int | None:
    """Elements beside the language model of the model that `config` (with its `text_config`) describes; None where its kind is not known here."""
    model_type = str(config.get("model_type", ""))
    if model_type in TEXT_ONLY:
        return 0
    count = _TOWERS.get(model_type)
    vision, text = config.get("vision_config"), config.get("text_config")
    if count is None or not isinstance(vision, Mapping) or not isinstance(text, Mapping):
        return None
    try:
        return count(config, vision, text)
    except (KeyError, TypeError):
        return None


def _gemma3(_: Config, vision: Config, text: Config) -> int:
    width = int(vision.get("hidden_size", 768))
    return _siglip(vision) + width * int(text.get("hidden_size", 2304)) + width


def _paligemma(_: Config, vision: Config, text: Config) -> int:
    return _siglip(vision) + (int(vision.get("hidden_size", 768)) + 1) * int(text.get("hidden_size", 2048))


def _mistral3(config: Config, vision: Config, text: Config) -> int:
    width, hidden = int(vision.get("hidden_size", 1024)), int(text.get("hidden_size", 5120))
    merged = int(config.get("spatial_merge_size", 2)) ** 2
    bias = 2 * hidden if config.get("multimodal_projector_bias") else 0
    return _pixtral(vision) + width + width * width * merged + width * hidden + hidden * hidden + bias


def _llava(config: Config, vision: Config, text: Config) -> int:
    width, hidden = int(vision.get("hidden_size", 1024)), int(text.get("hidden_size", 4096))
    bias = 2 * hidden if config.get("multimodal_projector_bias", True) else 0
    kinds: dict[str, Callable[[Config], int]] = {"clip_vision_model": _clip, "siglip_vision_model": _siglip, "pixtral": _pixtral}
    return kinds[str(vision.get("model_type", "clip_vision_model"))](vision) + width * hidden + hidden * hidden + bias


def _qwen2_vl(_: Config, vision: Config, __: Config) -> int:
    width, depth = int(vision.get("embed_dim", 1280)), int(vision.get("depth", 32))
    inner = int(width * float(vision.get("mlp_ratio", 4)))
    block = _encoder_layer(width, inner)
    return _patches(vision, width) + depth * block + 2 * width + _merger(width, int(vision.get("hidden_size", 3584)), vision)


def _qwen2_5_vl(_: Config, vision: Config, __: Config) -> int:
    width, depth, inner = int(vision.get("hidden_size", 3584)), int(vision.get("depth", 32)), int(vision.get("intermediate_size", 3420))
    block = 2 * width + 4 * width * width + 4 * width + 3 * width * inner + 2 * inner + width
    return _patches(vision, width) + depth * block + width + _merger(width, int(vision.get("out_hidden_size", 3584)), vision)


def _qwen3_vl(_: Config, vision: Config, __: Config) -> int:
    width, depth, inner = int(vision.get("hidden_size", 1152)), int(vision.get("depth", 27)), int(vision.get("intermediate_size", 4304))
    merged = width * int(vision.get("spatial_merge_size", 2)) ** 2
    merger = _merger(width, int(vision.get("out_hidden_size", 3584)), vision)
    deep = len(vision.get("deepstack_visual_indexes", (8, 16, 24)))
    positions = int(vision.get("num_position_embeddings", 2304)) * width
    patches = _patches(vision, width) + width
    return patches + positions + depth * _encoder_layer(width, inner) + (2 * width + merger) + deep * (2 * merged + merger)


def _patches(vision: Config, width: int) -> int:
    channels = int(vision.get("in_channels", vision.get("num_channels", 3)))
    return width * channels * int(vision.get("temporal_patch_size", 1)) * int(vision.get("patch_size", 16)) ** 2


def _merger(width: int, out: int, vision: Config) -> int:
    """Two matrices with biases over the patches that become one token."""
    merged = width * int(vision.get("spatial_merge_size", 2)) ** 2
    return merged * merged + merged + merged * out + out


def _encoder_layer(width: int, inner: int) -> int:
    """A plain transformer layer with biases and two LayerNorms."""
    return 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width


def _siglip(vision: Config) -> int:
    width, inner = int(vision.get("hidden_size", 768)), int(vision.get("intermediate_size", 3072))
    patch = int(vision.get("patch_size", 16))
    positions = (int(vision.get("image_size", 224)) // patch) ** 2 * width
    layers = int(vision.get("num_hidden_layers", 12)) * _encoder_layer(width, inner)
    # Pooling: a probe, its attention, a norm and an MLP.
    head = width + 4 * width * width + 4 * width + 2 * width + 2 * width * inner + inner + width
    return _patches(vision, width) + width + positions + layers + 2 * width + (head if vision.get("vision_use_head", True) else 0)


def _clip(vision: Config) -> int:
    width, inner = int(vision.get("hidden_size", 1024)), int(vision.get("intermediate_size", 4096))
    patch = int(vision.get("patch_size", 14))
    positions = ((int(vision.get("image_size", 336)) // patch) ** 2 + 1) * width
    layers = int(vision.get("num_hidden_layers", 24)) * _encoder_layer(width, inner)
    return width + _patches({**vision, "patch_size": patch}, width) + positions + layers + 4 * width


def _pixtral(vision: Config) -> int:
    width, inner = int(vision.get("hidden_size", 1024)), int(vision.get("intermediate_size", 4096))
    layer = 4 * width * width + 3 * width * inner + 2 * width
    return _patches({"patch_size": 16, **vision}, width) + width + int(vision.get("num_hidden_layers", 24)) * layer


_TOWERS: dict[str, Callable[[Config, Mapping[str, Any], Mapping[str, Any]], int]] = {
    "gemma3": _gemma3,
    "paligemma": _paligemma,
    "mistral3": _mistral3,
    "llava": _llava,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl,
}
