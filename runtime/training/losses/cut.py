"""Cut cross entropy (arXiv 2411.09009): the loss from hidden states and the head's weights, in Apple's Triton kernels.

Shapes: N supervised tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from runtime.config.problem import Problem, UserError
from runtime.training.losses.deferred import DeferredLogits, Step

# What an option becomes in `linear_cross_entropy`. The release on PyPI (25.1.1) has neither; the package's repository does.
_ARGUMENTS = {"cut_cross_entropy_accum_c_fp32": "accum_c_fp32", "cut_cross_entropy_c_grad_chunk_size": "c_grad_chunk_size"}
# `auto` holds this many bytes of the head's gradient in 32 bit; kernels work on 128 rows at a time.
_AUTO_BYTES = 2**30
_ROWS = 128
_INSTALL = 'pip install "finetune-launcher[kernels]"'


@dataclass(frozen=True, slots=True, kw_only=True)
class CutCrossEntropy:
    """Calls the package's `kernel`. `settings` are arguments of it, `takes_bias` whether it can add a bias."""

    kernel: Callable[..., torch.Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    takes_bias: bool = False

    def cost(self, logits: DeferredLogits, head: nn.Module, hidden_ND: torch.Tensor, target_N: torch.Tensor) -> torch.Tensor:
        """The summed cross entropy of N tokens; logits never exist.

        Raises UserError for a head that is not one whole matrix here, and for steps on logits the kernel cannot take.
        """
        linear = plain_head(head, hidden_ND.shape[-1])
        scale, softcap = scale_and_softcap(logits.steps)
        dtype = _working_dtype(linear.weight)
        if dtype not in (torch.bfloat16, torch.float16):
            raise UserError(
                Problem(
                    code="conflict",
                    path="cut_cross_entropy",
                    message=f"cut cross entropy computes gradients in 16 bit alone, and the head works in {str(dtype).removeprefix('torch.')}",
                    fix="set `bf16: auto`, or use `chunked_cross_entropy: true`",
                )
            )
        settings = dict(self.settings)
        if settings.get("c_grad_chunk_size") == "auto":
            settings["c_grad_chunk_size"] = rows_at_a_time(*linear.weight.shape)
        if linear.bias is not None:
            if not self.takes_bias:
                raise _refused("the head of this model has a bias, which the installed cut-cross-entropy cannot add")
            settings["bias"] = linear.bias.to(dtype)
        if len(target_N) == 0:
            # The kernels take no empty input, and processes that share gradients wait for every parameter.
            return (hidden_ND.sum() + linear.weight.sum() * 0 + (0 if linear.bias is None else linear.bias.sum() * 0)).float()
        scaled_ND = hidden_ND if scale == 1 else hidden_ND * scale
        return self.kernel(scaled_ND.to(dtype), linear.weight.to(dtype), target_N, softcap=softcap, reduction="sum", **settings).float()


def cut_cross_entropy_of(config: Any) -> CutCrossEntropy:
    """The kernel with the recipe's options. Raises UserError when the package is missing or its version does not know an option."""
    try:
        kernel = importlib.import_module("cut_cross_entropy").linear_cross_entropy
    except ImportError as error:
        raise UserError(
            Problem(
                code="missing-package",
                path="cut_cross_entropy",
                message=f"`cut_cross_entropy: true` needs the package cut-cross-entropy ({error})",
                fix=_INSTALL,
            )
        ) from error
    known = inspect.signature(kernel).parameters
    settings: dict[str, Any] = {"impl": "cce"}
    for option, argument in _ARGUMENTS.items():
        value = getattr(config, option)
        if not value:
            continue
        if argument not in known:
            raise UserError(
                Problem(
                    code="unsupported",
                    path=option,
                    message=f"the installed cut-cross-entropy has no `{argument}`",
                    fix=f"remove `{option}`, or install a version of the package that has it",
                )
            )
        settings[argument] = value
    return CutCrossEntropy(kernel=kernel, settings=settings, takes_bias="bias" in known)


def rows_at_a_time(vocabulary: int, width: int) -> int:
    """Rows of a head of `width` whose 32-bit gradient fits into 1 GiB, a multiple of 128; 0, all of them, when the whole head does."""
    rows = _AUTO_BYTES // (4 * width) // _ROWS * _ROWS
    return 0 if rows >= vocabulary else max(rows, _ROWS)


def plain_head(head: nn.Module, width: int) -> nn.Linear:
    """The linear layer that gives the logits: the head, or its trained copy in an adapter's `modules_to_save`. Raises UserError for another head."""
    copies, active = getattr(head, "modules_to_save", None), getattr(head, "active_adapters", None)
    if copies is not None and active and not getattr(head, "disable_adapters", False):
        head = copies[active[0]]
    if type(head) is not nn.Linear:
        raise _refused(f"the head of this model is a {type(head).__name__}, and the kernel needs one plain matrix")
    if type(head.weight) is not nn.Parameter or head.weight.dim() != 2 or head.weight.shape[1] != width:
        raise _refused("the head of this model is spread over devices, and the kernel needs all of it")
    return head


def scale_and_softcap(steps: tuple[Step, ...]) -> tuple[Any, float | None]:
    """The factor on logits before, and the bound of, soft-capping: (factor, None) where a model only scales. Raises UserError for other steps."""
    scale: Any = 1
    rest = [step for step in steps if step.name != "to"]
    if len(rest) >= 3 and [step.name for step in rest[-3:]] == ["div", "tanh", "mul"] and rest[-3].operand == rest[-1].operand:
        softcap: float | None = float(rest[-1].operand)
        rest = rest[:-3]
    else:
        softcap = None
    for step in rest:
        if step.name == "tanh":
            raise _refused("this model bends its logits in a way the kernel does not know")
        scale = scale * step.operand if step.name == "mul" else scale / step.operand
    return scale, softcap


def _working_dtype(weight: torch.Tensor) -> torch.dtype:
    """The format the head's product is computed in: that of autocast where it is on."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _refused(message: str) -> UserError:
    return UserError(
        Problem(
            code="unsupported", path="cut_cross_entropy", message=message, fix="use `chunked_cross_entropy: true`, which takes any head"
        )
    )
