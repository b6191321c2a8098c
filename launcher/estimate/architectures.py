"""From a model's config.json to its facts: one short description per architecture, exact to the parameter.

Shapes follow the modelling files of transformers 5.23; the tests count parameters of the real classes on the meta device and compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from launcher.estimate import decoders, gemma_decoders, gpt_decoders, linear_attention, mixtures, shared_mixtures
from launcher.estimate.config_keys import Config
from launcher.estimate.facts import ModelFacts
from launcher.estimate.towers import tower_parameters

Builder = Callable[[Config], ModelFacts]


class UnknownArchitectureError(Exception):
    """The config does not say enough to know the model's shape."""


def facts_from_config(config: Config, *, name: str = "") -> ModelFacts:
    """The facts of the model `config` (a parsed config.json) describes; a vision-language model's language half.

    An architecture without a description of its own is read as a Llama-like decoder with `exact` off. Raises UnknownArchitectureError when widths are missing.
    """
    config, notes, tower = _language_half(config)
    model_type = str(config.get("model_type", ""))
    builder = BUILDERS.get(model_type)
    try:
        facts = (builder or decoders.llama)(config)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise UnknownArchitectureError(f"the config of model type {model_type!r} lacks {error}") from error
    if builder is None:
        notes += (f"architecture {model_type!r} has no description here: read as a Llama-like decoder",)
    facts = replace(facts, tower_parameters=tower)
    return _named(facts, config, name=name, notes=notes, exact=builder is not None and not notes)


def _named(facts: ModelFacts, config: Config, *, name: str, notes: tuple[str, ...], exact: bool) -> ModelFacts:
    quantization = config.get("quantization_config") or {}
    return replace(
        facts,
        name=name or str(config.get("_name_or_path") or facts.model_type),
        notes=notes,
        exact=exact,
        dtype=str(config.get("dtype") or config.get("torch_dtype") or ""),
        quantized=str(quantization.get("quant_method", "")) if isinstance(quantization, Mapping) else "",
    )


def _language_half(config: Config) -> tuple[Config, tuple[str, ...], int]:
    """The config of the language model, what is left out, and the elements of the vision half."""
    for key in ("text_config", "llm_config", "language_config"):
        inner = config.get(key)
        if isinstance(inner, Mapping):
            # The outer file says whether the head is tied; the inner one often repeats a default.
            merged = {
                **inner,
                **{k: config[k] for k in ("tie_word_embeddings", "dtype", "torch_dtype", "quantization_config") if k in config},
            }
            merged["model_type"] = inner.get("model_type") or config.get("model_type", "")
            tower = tower_parameters(config)
            return merged, () if tower is not None else ("the vision or audio tower is not counted",), tower or 0
    return config, (), 0


BUILDERS: dict[str, Builder] = {
    "llama": decoders.llama,
    "mistral": decoders.mistral,
    "ministral": decoders.mistral,
    "ministral3": decoders.llama,
    "cwm": decoders.mistral,
    "helium": decoders.llama,
    "vaultgemma": decoders.gemma,
    "apertus": decoders.apertus,
    "nanochat": decoders.nanochat,
    "bitnet": decoders.bitnet,
    "hunyuan_v1_dense": decoders.hunyuan,
    "hunyuan_v1_moe": shared_mixtures.hunyuan_moe,
    "glm4_moe": shared_mixtures.glm4_moe,
    "glm4_moe_lite": mixtures.deepseek,
    "dots1": shared_mixtures.dots1,
    "exaone_moe": shared_mixtures.exaone_moe,
    "solar_open": shared_mixtures.solar_open,
    "ernie4_5_moe": shared_mixtures.ernie_moe,
    "granitemoe": shared_mixtures.granite_moe,
    "granitemoeshared": shared_mixtures.granite_moe,
    "llama4_text": shared_mixtures.llama4,
    "phimoe": shared_mixtures.phi_moe,
    "minimax_m2": shared_mixtures.minimax,
    "qwen3_next": linear_attention.qwen3_next,
    "qwen3_5_text": linear_attention.qwen3_5,
    "qwen3_5_moe_text": linear_attention.qwen3_5,
    "qwen2_vl_text": decoders.qwen2,
    "qwen2_5_vl_text": decoders.qwen2,
    "qwen3_vl_text": decoders.qwen3,
    "qwen3_vl_moe_text": mixtures.qwen3_moe,
    "lfm2": linear_attention.lfm2,
    "lfm2_moe": linear_attention.lfm2,
    "gemma3n_text": gemma_decoders.gemma3n,
    "gemma4_text": gemma_decoders.gemma4,
    "mixtral": mixtures.mixtral,
    "qwen2": decoders.qwen2,
    "qwen2_moe": mixtures.qwen2_moe,
    "qwen3": decoders.qwen3,
    "qwen3_moe": mixtures.qwen3_moe,
    "gemma": decoders.gemma,
    "gemma2": decoders.gemma2,
    "gemma3": decoders.gemma3,
    "gemma3_text": decoders.gemma3,
    "phi": decoders.phi,
    "phi3": decoders.phi3,
    "falcon": gpt_decoders.falcon,
    "gpt2": gpt_decoders.gpt2,
    "gpt_bigcode": gpt_decoders.gpt_bigcode,
    "gpt_neox": gpt_decoders.gpt_neox,
    "gptj": gpt_decoders.gptj,
    "bloom": gpt_decoders.bloom,
    "mpt": gpt_decoders.mpt,
    "opt": gpt_decoders.opt,
    "starcoder2": decoders.starcoder2,
    "stablelm": decoders.stablelm,
    "olmo": decoders.olmo,
    "olmo2": decoders.olmo2,
    "olmo3": decoders.olmo2,
    "olmoe": mixtures.olmoe,
    "cohere": decoders.cohere,
    "cohere2": decoders.cohere,
    "granite": decoders.granite,
    "smollm3": decoders.llama,
    "seed_oss": decoders.seed_oss,
    "ernie4_5": decoders.ernie,
    "nemotron": decoders.nemotron,
    "arcee": decoders.arcee,
    "glm": decoders.glm,
    "glm4": decoders.glm,
    "exaone4": decoders.exaone4,
    "gpt_oss": mixtures.gpt_oss,
    "deepseek_v2": mixtures.deepseek,
    "deepseek_v3": mixtures.deepseek,
}
