"""The model a run starts from: loaded from a folder or the Hub, or initialised anew."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError
from runtime.model.attention import attention_of
from runtime.model.experts import check_experts, experts_of
from runtime.model.kernels import kernels_of
from runtime.model.placement import Placement, check_placed, placement_of
from runtime.model.precision import Precision
from runtime.model.quantization import quantization_of, stored_quantization_of
from runtime.model.refusals import refusal
from runtime.model.rows import FrozenRows, freeze_rows, read_pattern
from runtime.model.untrained import fix_untrained
from runtime.plugins.hooks import hooks_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_model(
    config: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    precision: Precision,
    device: str,
    quantize: bool = True,
    attention: str | None = None,
    on_host: bool = False,
    empty: bool = False,
) -> PreTrainedModel:
    """The base model of a run on `device` (`cpu`, `cuda:0`), its embeddings grown to the tokenizer, in the weights' format of `precision`.

    `quantize=False` loads the same weights in full size, as merging an adapter needs; `attention` wins over the recipe's; `on_host` leaves a model that
    computes on `device` in host memory, from where its shards go there; `empty` gives it weights without values, which are sent later. `reinit_weights` draws the weights from the config's seed
    instead, always on the CPU, so that every process and every later load draws the same. Raises UserError when the model cannot be found or read.
    """
    import torch
    import transformers

    hooks = hooks_of(config)
    hooks.tell("pre_model_load")
    architecture = load_architecture(config)
    kind = getattr(transformers, config.type_of_model or "AutoModelForCausalLM", None)
    if kind is None:
        raise UserError(
            Problem(
                code="unknown-name",
                path="type_of_model",
                message=f"transformers has no class {config.type_of_model!r}",
                fix="AutoModelForCausalLM is a good choice",
            )
        )
    attention = attention or attention_of(config, cuda=device.startswith("cuda"))
    dtype = getattr(torch, precision.weights)
    experts = experts_of(config)
    if empty:
        from transformers.initialization import no_init_weights

        with no_init_weights():
            model = kind.from_config(
                architecture, dtype=dtype, attn_implementation=attention, trust_remote_code=bool(config.trust_remote_code), **experts
            )
        model.tie_weights()
    elif config.reinit_weights:
        torch.manual_seed(seed_of(config))
        model = kind.from_config(
            architecture, dtype=dtype, attn_implementation=attention, trust_remote_code=bool(config.trust_remote_code), **experts
        )
        model = model.to("cpu" if on_host else device)
    else:
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        # Merging takes the base as it is on one device: limits and kernels belong to training.
        placement = (
            placement_of(config, device="cpu" if on_host else device, gpus=torch.cuda.device_count(), processes=processes)
            if quantize
            else Placement.on(device)
        )
        settings: dict[str, Any] = {
            "config": architecture,
            "dtype": dtype,
            "attn_implementation": attention,
            "quantization_config": stored_quantization_of(config) or (quantization_of(config, precision) if quantize else None),
            "trust_remote_code": bool(config.trust_remote_code),
            "device_map": placement.device_map,
            "max_memory": placement.max_memory,
            **experts,
            **(kernels_of(config, cuda=device.startswith("cuda")) if quantize else {}),
            **_source(config),
            **(config.overrides_of_model_kwargs or {}),
        }
        model = _reading(
            config, lambda: kind.from_pretrained(config.base_model, **{key: value for key, value in settings.items() if value is not None})
        )
        if placement.limited:
            check_placed(model, config)
    check_experts(model, config)
    # A sampling default that contradicts itself stops a model from being saved; greedy models of the wild carry such files.
    if getattr(model, "generation_config", None) is not None and not model.generation_config.do_sample:
        model.generation_config.temperature = model.generation_config.top_p = model.generation_config.top_k = None
    fit_embeddings(model, tokenizer, config, empty=empty)
    if fix_untrained(model, config):
        # An adapter alone would not tell what became of these rows: they are saved with it.
        model.resized_embeddings = True
    model.config.use_cache = False
    hooks.tell("post_model_build", model)
    return model


def load_architecture(config: Any) -> PretrainedConfig:
    """The model's own configuration with the recipe's `overrides_of_model_config` and `rope_scaling` applied."""
    import transformers

    kind = getattr(transformers, config.cls_model_config or "AutoConfig", None)
    if kind is None:
        raise UserError(
            Problem(
                code="unknown-name",
                path="cls_model_config",
                message=f"transformers has no class {config.cls_model_config!r}",
                fix="leave it out",
            )
        )
    overrides = dict(config.overrides_of_model_config or {})
    if config.rope_scaling is not None:
        overrides.setdefault("rope_scaling", config.rope_scaling)
    name = config.base_model_config or config.base_model
    settings = {"trust_remote_code": bool(config.trust_remote_code), **_source(config, name)}
    architecture: PretrainedConfig = _reading(config, lambda: kind.from_pretrained(name, **settings))
    for key, value in overrides.items():
        if not hasattr(architecture, key):
            raise UserError(
                Problem(
                    code="unknown-key",
                    path=f"overrides_of_model_config.{key}",
                    message=f"the configuration of {name} has no setting {key!r}",
                    fix="see the model's config.json for its settings",
                )
            )
        setattr(architecture, key, value)
    return architecture


def fit_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: Any, *, empty: bool = False) -> bool:
    """Whether the embeddings changed size: they grow to hold every token, to a multiple of 32 if asked, and shrink only if asked. `empty` ones have no
    values to take a mean of."""
    multiple = 32 if config.resize_token_embeddings_to_32x else None
    wanted = len(tokenizer) if multiple is None else -(-len(tokenizer) // multiple) * multiple
    held = model.get_input_embeddings().weight.shape[0]
    if wanted <= held and not (config.shrink_embeddings and wanted < held):
        return False
    mean = bool(config.mean_resizing_embeddings) and not empty
    model.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=multiple, mean_resizing=mean)
    model.resized_embeddings = True
    return True


def unfreeze_only(model: PreTrainedModel, patterns: list[str]) -> tuple[FrozenRows, ...]:
    """Leave only parameters matching a pattern to training, and of those with a range only its rows; returns the rows that stay as they are.

    Raises UserError for a broken pattern, for a range that holds no row, or when nothing matches.
    """
    read = []
    for index, text in enumerate(patterns):
        try:
            read.append(read_pattern(text))
        except re.error as error:
            raise UserError(
                Problem(
                    code="wrong-type",
                    path=f"unfrozen_parameters[{index}]",
                    message=f"{text!r} is not a regular expression: {error}",
                    fix="escape special characters",
                )
            ) from error
    frozen, trainable = [], False
    for name, parameter in model.named_parameters():
        found = [pattern for pattern in read if pattern.names.match(name)] if parameter.is_floating_point() else []
        parameter.requires_grad_(bool(found))
        trainable = trainable or bool(found)
        if found and not any(pattern.whole for pattern in found):
            ranges = [(pattern.start or 0, pattern.stop) for pattern in found]
            rows = freeze_rows(name, parameter, ranges)
            if rows is not None and len(rows.indices) == parameter.shape[0]:
                raise UserError(
                    Problem(
                        code="out-of-range",
                        path="unfrozen_parameters",
                        message=f"no row of {name} is in the range {ranges[0][0]}:{'' if ranges[0][1] is None else ranges[0][1]}: it has {parameter.shape[0]} rows",
                        fix="the first row is 0, and the end is not included",
                    )
                )
            frozen += [] if rows is None else [rows]
    if not trainable:
        raise UserError(
            Problem(
                code="unknown-name",
                path="unfrozen_parameters",
                message="no parameter of the model matches",
                fix="names look like model.layers.0.self_attn.q_proj.weight",
            )
        )
    return tuple(frozen)


def seed_of(config: Any) -> int:
    """The run's seed: the recipe's, 42 when it has none."""
    return 42 if config.seed is None else int(config.seed)


def is_local(name: str) -> bool:
    """Whether a model's name means a folder of this machine rather than a repository of the Hub."""
    return Path(name).expanduser().exists() or name.startswith((".", "/", "~")) or name.count("/") > 1


def _source(config: Any, name: str | None = None) -> dict[str, Any]:
    # A folder must never send the libraries to the network, not even to ask for an optional file.
    if is_local(name or config.base_model):
        return {"local_files_only": True}
    return {"revision": config.revision_of_model} if config.revision_of_model else {}


def _reading(config: Any, load: Any) -> Any:
    name = config.base_model
    if is_local(name) and not Path(name).expanduser().exists():
        raise UserError(
            Problem(
                code="missing-file",
                path="base_model",
                place=name,
                message="there is no such model folder",
                fix="check `base_model`: a folder here, or a Hub id such as org/model",
            )
        )
    try:
        return load()
    except UserError:
        raise
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        refused = None if is_local(name) else refusal(error, name=name, option="base_model", revision=config.revision_of_model)
        raise (refused or UserError(_why_unreadable(name, error))) from error


def _why_unreadable(name: str, error: Exception) -> Problem:
    text = str(error).strip().splitlines()
    said = text[0] if text else type(error).__name__
    if is_local(name):
        return Problem(
            code="missing-file",
            path="base_model",
            place=name,
            message=f"cannot load a model from this folder: {said}",
            fix="it must hold config.json and the weights as safetensors",
        )
    return Problem(
        code="missing-file",
        path="base_model",
        place=name,
        message=f"cannot load this model: {said}",
        fix="check the name, and revision_of_model if set",
    )
