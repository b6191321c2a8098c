"""ReLoRA: at every restart the adapter is merged into its base, starts anew, and the optimizer forgets. https://arxiv.org/abs/2307.05695"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

FILE = "changed_base.safetensors"
# The paper prunes 90 % of the state by magnitude.
PRUNE_RATIO = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ReLoRA:
    """`every` is the life of an adapter in optimizer steps. What a restart draws at random is a function of `seed` and the step."""

    every: int
    seed: int
    method: Literal["magnitude", "random", "reset"] = "magnitude"
    ratio: float = PRUNE_RATIO
    on_cpu: bool = False

    def due(self, step: int, *, last: bool) -> bool:
        """Whether a new adapter starts after optimizer step `step`; after the last one there is nothing left to train."""
        return step % self.every == 0 and not last

    def restart(self, model: PeftModel, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Merge the adapter into the base, start a new one and prune the optimizer's state, without moving the random state of training."""
        parameters = [parameter for name, parameter in model.named_parameters() if "lora_" in name and parameter.requires_grad]
        devices = sorted({parameter.device.index for parameter in parameters if parameter.device.type == "cuda"})
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            torch.manual_seed(self.seed * 1_000_003 + step)
            for _, layer in _layers(model):
                _merge(layer, on_cpu=self.on_cpu)
                _start_anew(layer)
            for parameter in parameters:
                self._forget(optimizer.state, parameter)

    def _forget(self, state: Any, parameter: torch.nn.Parameter) -> None:
        if parameter not in state:
            return
        if self.method == "reset":
            # Without its count of steps too: AdamW then corrects the bias of its young averages again.
            del state[parameter]
            return
        for value in state[parameter].values():
            if torch.is_tensor(value) and value.is_floating_point() and value.shape == parameter.shape:
                prune(value, self.ratio, at_random=self.method == "random")


def relora_of(config: Any) -> ReLoRA | None:
    """The recipe's ReLoRA, None without `relora: true`. `relora_prune_method: reset` forgets everything, unless a ratio makes it `random`."""
    if not config.relora:
        return None
    method = config.relora_prune_method or "magnitude"
    if method == "reset" and config.relora_prune_ratio is not None:
        method = "random"
    return ReLoRA(
        every=config.jagged_restart_steps,
        seed=42 if config.seed is None else int(config.seed),
        method=method,
        ratio=PRUNE_RATIO if config.relora_prune_ratio is None else config.relora_prune_ratio,
        on_cpu=bool(config.relora_cpu_offload),
    )


def prune(tensor: torch.Tensor, ratio: float, *, at_random: bool) -> None:
    """Set `ratio` of the numbers in `tensor` to zero, in place: the smallest ones, or any."""
    kept = tensor.numel() - round(tensor.numel() * ratio)
    order = torch.rand(tensor.shape, device=tensor.device) if at_random else tensor.abs()
    # topk and not a threshold: many numbers may be equal, and the share that stays is what was asked for.
    chosen = torch.topk(order.flatten(), kept).indices
    mask = torch.zeros(tensor.numel(), dtype=torch.bool, device=tensor.device)
    mask[chosen] = True
    tensor.masked_fill_(~mask.view_as(tensor), 0)


def check_layers(model: PeftModel) -> None:
    """Nothing, when every adapted weight belongs to one layer alone. Raises UserError otherwise: a merge would change the other one too."""
    owners: dict[int, list[str]] = {}
    for name, module in model.get_base_model().named_modules(remove_duplicate=False):
        weight = module._parameters.get("weight")
        if weight is not None:
            owners.setdefault(weight.data_ptr(), []).append(name)
    for name, layer in _layers(model):
        shared = owners.get(layer.get_base_layer().weight.data_ptr(), [])
        if len(shared) > 1:
            raise UserError(
                Problem(
                    code="conflict",
                    path="relora",
                    message=f"the weight of {name} is shared by {len(shared)} layers, so merging an adapter into it would change the others",
                    fix="leave the embedding and the head out of `lora_target_modules`",
                )
            )


def base_state(model: PeftModel) -> dict[str, torch.Tensor]:
    """The base weights that merges change, on the CPU, in their own format."""
    return {name: layer.get_base_layer().weight.detach().to("cpu", copy=True).contiguous() for name, layer in _layers(model)}


def save_base(model: PeftModel, folder: Path) -> None:
    """Keep the changed base weights in `folder`, beside the adapter that stands over them."""
    from safetensors.torch import save_file

    save_file(base_state(model), folder / FILE)


def load_base(model: PeftModel, folder: Path) -> None:
    """Put the base weights kept in `folder` back in place. Raises UserError when they are missing or are those of another model."""
    from safetensors.torch import load_file

    kept = load_file(folder / FILE) if (folder / FILE).is_file() else {}
    layers = dict(_layers(model))
    if set(kept) != set(layers):
        raise UserError(
            Problem(
                code="missing-file",
                place=str(folder),
                message=f"this checkpoint does not hold the base weights that ReLoRA changed ({FILE})",
                fix="resume from a checkpoint of a ReLoRA run with the same adapted layers",
            )
        )
    with torch.no_grad():
        for name, layer in layers.items():
            layer.get_base_layer().weight.copy_(kept[name])


def _layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def _merge(layer: LoraLayer, *, on_cpu: bool) -> None:
    weight = layer.get_base_layer().weight
    device = weight.device
    if on_cpu:
        layer.to("cpu")
    for adapter in layer.active_adapters:
        # The sum is formed in the finer of the two formats and rounded once.
        delta = layer.get_delta_weight(adapter)
        weight = layer.get_base_layer().weight
        weight.copy_(weight.to(torch.promote_types(weight.dtype, delta.dtype)) + delta)
    if on_cpu:
        layer.to(device)


def _start_anew(layer: LoraLayer) -> None:
    for adapter in layer.active_adapters:
        layer.reset_lora_parameters(adapter, True)
