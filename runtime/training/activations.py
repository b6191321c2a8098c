"""Which activations wait for the backward pass, and where they wait."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.options.precision import SelectiveCheckpointing
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

# Folder under the run's own for activations on disk; hidden, so that nothing takes it for a result.
FOLDER = ".activations"
# Parts of torch's names for attention: the fused kernels of scaled_dot_product_attention, the flash-attn packages, varlen and flex attention.
_ATTENTION = ("scaled_dot_product", "flash_attn", "varlen_attn", "flex_attention")


def on_disk(config: Any) -> bool:
    """Whether the inputs of checkpointed layers wait on disk."""
    return config.gradient_checkpointing == "offload_disk" or config.activation_offloading == "disk"


def in_host_memory(config: Any) -> bool:
    """Whether the inputs of checkpointed layers wait in host memory, copied there on the compute stream."""
    return config.gradient_checkpointing == "offload" or config.activation_offloading in ("legacy", "hidden_states")


def shape_checkpointing(model: nn.Module, config: Any, *, scratch: Path) -> None:
    """Make `model` checkpoint as the recipe says once the Trainer turns checkpointing on; `scratch` is this process' folder for activations on disk.

    Nothing changes for plain checkpointing. Raises UserError when the Trainer would not find layers to checkpoint.
    """
    if not (on_disk(config) or config.selective_checkpointing):
        return
    function = _checkpoint_function(config, scratch)
    enable = model.activation_checkpointing_enable

    def enable_shaped(*given: Any, **named: Any) -> None:
        enable(*given, **named)
        layers = [
            module
            for module in model.modules()
            if getattr(module, "gradient_checkpointing", False) and hasattr(module, "_gradient_checkpointing_func")
        ]
        if not layers:
            raise UserError(
                Problem(
                    code="unsupported",
                    path="gradient_checkpointing",
                    message=f"the layers of {type(model).__name__} do their own checkpointing, which can only be plain",
                    fix="use `gradient_checkpointing: true`",
                )
            )
        for layer in layers:
            layer._gradient_checkpointing_func = function

    model.activation_checkpointing_enable = enable_shaped


def offloading(model: nn.Module, config: Any) -> AbstractContextManager[Any]:
    """The context of a training step: under `activation_offloading: true`, activations travel to host memory while the GPU goes on computing."""
    if config.activation_offloading is not True:
        return nullcontext()
    from trl.models import get_act_offloading_ctx_manager

    return get_act_offloading_ctx_manager(model)


def clear(scratch: Path) -> None:
    """Remove what a process that died left in its folder of activations."""
    shutil.rmtree(scratch, ignore_errors=True)


def _checkpoint_function(config: Any, scratch: Path) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    settings: dict[str, Any] = {"use_reentrant": False} | (config.gradient_checkpointing_kwargs or {})
    settings.pop("every_n_layers", None)
    settings.pop("offload", None)
    selective = _selective(config.selective_checkpointing)

    def checkpointed(function: Callable[..., Any], *inputs: Any) -> Any:
        contexts = {"context_fn": selective(function)} if selective else {}
        with _spilled(scratch) if on_disk(config) else nullcontext():
            return checkpoint(function, *inputs, **settings, **contexts)

    return checkpointed


def _selective(given: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]] | None:
    """For a layer's function, the contexts that save the outputs of the chosen operations; None for plain checkpointing."""
    if not given:
        return None
    from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

    wanted = given if isinstance(given, SelectiveCheckpointing) else SelectiveCheckpointing()
    attention = "attention" in wanted.save
    named = frozenset(wanted.save) - {"attention"}

    # Asked at every operation of every layer.
    @cache
    def saved(operation: Any, with_attention: bool) -> bool:
        name = str(operation).replace(".", "::", 1)
        return (with_attention and any(part in name for part in _ATTENTION)) or bool({name, name.rpartition(".")[0]} & named)

    def policy(with_attention: bool, context: Any, operation: Any, *inputs: Any, **settings: Any) -> CheckpointPolicy:  # noqa: ARG001 - torch's signature
        return CheckpointPolicy.MUST_SAVE if saved(operation, with_attention) else CheckpointPolicy.PREFER_RECOMPUTE

    def contexts(function: Callable[..., Any]) -> Callable[..., Any]:
        saves = attention and (wanted.save_sliding_window or not _slides(function))
        return partial(create_selective_checkpoint_contexts, partial(policy, saves))

    return contexts


def _slides(function: Callable[..., Any]) -> bool:
    """Whether the layer behind a checkpointed function attends to a sliding window alone, which is cheap to compute again."""
    layer = function.args[0] if isinstance(function, partial) and function.args else None
    return any(getattr(module, "sliding_window", None) is not None for module in (layer.children() if layer is not None else ()))


def _spilled(scratch: Path) -> AbstractContextManager[Any]:
    """Under it, tensors kept for the backward pass are files in `scratch`, removed when the graph that needs them goes."""
    import torch

    def pack(tensor: torch.Tensor) -> _Spilled | torch.Tensor:
        return tensor if isinstance(tensor, torch.nn.Parameter) or tensor.numel() == 0 else _Spilled(tensor, scratch)

    def unpack(kept: _Spilled | torch.Tensor) -> torch.Tensor:
        return kept.read() if isinstance(kept, _Spilled) else kept

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


class _Spilled:
    """A tensor in a file that goes with this object."""

    _written = 0

    def __init__(self, tensor: torch.Tensor, folder: Path) -> None:
        import torch

        folder.mkdir(parents=True, exist_ok=True)
        _Spilled._written += 1
        self._path, self._device = folder / f"{_Spilled._written}.pt", tensor.device
        torch.save(tensor.detach().to("cpu").clone(), self._path)
        weakref.finalize(self, self._path.unlink, missing_ok=True)

    def read(self) -> torch.Tensor:
        """The tensor, back on its device."""
        import torch

        kept: torch.Tensor = torch.load(self._path, weights_only=True)
        return kept.to(self._device)
