"""The adapter of a run: LoRA and its variants through peft."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError
from runtime.config.wishes import recomputes

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

# Initialisations that change the base weights as they start; what they train is only right over that changed base.
MUTATING = ("pissa", "olora")
# Initialisations that need a pass over data or quantized originals first.
NEEDS_DATA = ("eva", "corda", "loftq", "lora_ga")


def with_adapter(model: PreTrainedModel, config: Any) -> PeftModel:
    """`model` with everything frozen but a LoRA adapter: new, or the one in `lora_model_dir`.

    The frozen weights keep the format they were loaded in. Raises UserError when the adapter's settings do not fit the model.
    """
    import peft
    import torch

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if config.embeddings_skip_upcast is False:
        for embedding in (model.get_input_embeddings(), model.get_output_embeddings()):
            if embedding is not None:
                embedding.to(torch.float32)
    if recomputes(config):
        # Re-entrant checkpointing drops gradients when no input of a block requires one, and embeddings are frozen here.
        model.enable_input_require_grads()
    upcast = config.peft_autocast_adapter_dtype is not False
    if config.lora_model_dir:
        return _in_full(_continued(model, config.lora_model_dir, upcast), config)
    try:
        return _in_full(peft.get_peft_model(model, lora_settings(config, model), autocast_adapter_dtype=upcast), config)
    except (ValueError, TypeError, KeyError, ImportError, AttributeError) as error:
        raise UserError(
            Problem(
                code="conflict",
                path="lora_target_modules" if "target" in str(error).lower() else "adapter",
                message=f"this adapter does not fit the model: {str(error).splitlines()[0]}",
                fix="`lora_target_linear: true` targets every linear layer of any model",
            )
        ) from error


def lora_settings(config: Any, model: PreTrainedModel) -> LoraConfig:
    """peft's settings for the recipe's LoRA options. Raises UserError when rank or alpha is missing or the initialisation needs data."""
    from peft import LoraConfig

    for path in ("lora_r", "lora_alpha"):
        if getattr(config, path) is None:
            raise UserError(
                Problem(
                    code="missing",
                    path=path,
                    message=f"`adapter: {config.adapter}` needs `{path}`",
                    fix=f"{path}: {16 if path == 'lora_r' else 32}",
                )
            )
    start = True if config.peft_init_lora_weights is None else config.peft_init_lora_weights
    if isinstance(start, str) and start.lower().startswith(NEEDS_DATA):
        raise UserError(
            Problem(
                code="unsupported",
                path="peft_init_lora_weights",
                message=f"the {start} initialisation is not supported yet",
                fix="pissa, olora, orthogonal, gaussian and the default are",
            )
        )
    if config.peft is not None and config.peft.loftq_config is not None:
        raise UserError(
            Problem(
                code="unsupported",
                path="peft.loftq_config",
                message="LoftQ initialisation is not supported yet",
                fix="pissa, olora, orthogonal, gaussian and the default are",
            )
        )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout or 0.0,
        target_modules=_targets(config, model),
        target_parameters=_as_list(config.lora_target_parameters),
        modules_to_save=config.lora_modules_to_save or None,
        fan_in_fan_out=bool(config.lora_fan_in_fan_out),
        bias="none",
        use_dora=bool(config.peft_use_dora),
        use_rslora=bool(config.peft_use_rslora),
        init_lora_weights=start,
        layers_to_transform=config.peft_layers_to_transform,
        layers_pattern=config.peft_layers_pattern,
        rank_pattern=config.lora_rank_pattern or {},
        alpha_pattern=config.lora_alpha_pattern or {},
        layer_replication=config.peft_layer_replication,
        trainable_token_indices=config.peft_trainable_token_indices,
        ensure_weight_tying=bool(config.peft_ensure_weight_tying),
    )


def _in_full(model: PeftModel, config: Any) -> PeftModel:
    """`model`, the matrices of its adapter in 32 bits when the recipe wants their gradients so: a gradient has the format of its parameter."""
    if config.lora_fp32_gradients:
        for name, parameter in model.named_parameters():
            if "lora_" in name and parameter.requires_grad:
                parameter.data = parameter.data.float()
    return model


def changes_base(model: PeftModel) -> bool:
    """Whether the adapter's initialisation changed the base weights, so that the adapter alone does not tell the result."""
    start = getattr(next(iter(model.peft_config.values())), "init_lora_weights", True)
    return isinstance(start, str) and start.lower().startswith(MUTATING)


def load_adapter_weights(model: PeftModel, folder: Path) -> None:
    """Put the adapter stored in `folder` into `model` in place: shapes, formats and trainable flags stay as they are."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))


def save_adapter(
    model: PeftModel, folder: Path, *, state_dict: dict[str, Any] | None = None, initial: dict[str, torch.Tensor] | None = None
) -> None:
    """Write the adapter into `folder`, embeddings included when they were resized.

    `initial`, the adapter as it was before training, turns one whose start changed the base weights into a plain LoRA adapter of twice the rank over
    the unchanged base.
    """
    settings: dict[str, Any] = {"save_embedding_layers": _saves_embeddings(model), "state_dict": state_dict}
    if initial is None:
        model.save_pretrained(folder, **settings)
        return
    import tempfile

    from safetensors.torch import save_file

    # Its name becomes the name of an adapter, which may hold no dot.
    with tempfile.TemporaryDirectory(prefix="initial_") as scratch:
        save_file(initial, Path(scratch) / "adapter_model.safetensors")
        model.save_pretrained(folder, path_initial_model_for_weight_conversion=scratch, **settings)


def adapter_state(model: PeftModel) -> dict[str, torch.Tensor]:
    """A copy on the CPU of the adapter's present weights, under the names they are stored by."""
    from peft import get_peft_model_state_dict

    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }


def adapter_tensors(model: PeftModel) -> dict[str, torch.Tensor]:
    """The entries of the model's state, as they are there, from which `save_adapter` makes what it stores."""
    from peft import get_peft_model_state_dict

    state = model.state_dict()
    stored = get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=_saves_embeddings(model))
    taken = {id(tensor) for tensor in stored.values()}
    return {name: tensor for name, tensor in state.items() if id(tensor) in taken}


def _continued(model: PreTrainedModel, folder: str, upcast: bool) -> PeftModel:
    from peft import PeftModel

    if not (Path(folder).expanduser() / "adapter_config.json").is_file():
        raise UserError(
            Problem(
                code="missing-file",
                path="lora_model_dir",
                place=folder,
                message="this folder holds no adapter (adapter_config.json is missing)",
                fix="name the folder of a trained adapter",
            )
        )
    try:
        return PeftModel.from_pretrained(model, folder, is_trainable=True, autocast_adapter_dtype=upcast, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            Problem(
                code="conflict",
                path="lora_model_dir",
                place=folder,
                message=f"this adapter does not fit the model: {str(error).splitlines()[0]}",
                fix="it must come from the same base model",
            )
        ) from error


def _targets(config: Any, model: PreTrainedModel) -> str | list[str] | None:
    """peft's target modules: the named ones, every linear layer, or both together (the output layer and embeddings only when named)."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    named = config.lora_target_modules
    if not config.lora_target_linear:
        return named
    if not named or named in ("linear", "all-linear"):
        return "all-linear"
    output = model.get_output_embeddings()
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not output}
    if isinstance(named, str):
        named = [name for name, _ in model.named_modules() if re.fullmatch(config.lora_target_modules, name)]
    return sorted(linear.union(named))


def _saves_embeddings(model: PeftModel) -> bool:
    """Whether the embeddings belong to what is stored. peft's own "auto" asks the Hub for the base's vocabulary at every save."""
    return bool(getattr(model.get_base_model(), "resized_embeddings", False)) or _targets_embeddings(model)


def _targets_embeddings(model: PeftModel) -> bool:
    targets = next(iter(model.peft_config.values())).target_modules or ()
    return not isinstance(targets, str) and any(name.endswith(("embed_tokens", "lm_head", "wte")) for name in targets)


def _as_list(value: str | list[str] | None) -> list[str] | None:
    return [value] if isinstance(value, str) else value
