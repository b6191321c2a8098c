"""In which number format a run's weights are loaded and computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from runtime.config.problem import Problem, UserError

Format = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """`weights` is the format parameters are loaded in; `bf16` and `fp16` turn on mixed precision over it; `full_eval` evaluates in bf16 throughout."""

    weights: Format
    bf16: bool = False
    fp16: bool = False
    full_eval: bool = False


def choose_precision(config: Any, *, cuda: bool, bf16_supported: bool) -> Precision:
    """The precision a config asks for on this machine.

    `bf16: auto`, the default, means bf16 on GPUs that have it, fp16 on older ones and float32 on a CPU. Weights follow the request, without a float32
    master copy; only full fine-tuning in fp16 keeps float32 weights, because the gradient scaler cannot unscale fp16 gradients.
    """
    if config.float32:
        return Precision(weights="float32")
    if config.bfloat16:
        return Precision(weights="bfloat16")
    if config.float16:
        return Precision(weights="float16")
    if config.fp16 is True or (config.fp16 == "auto" and cuda and not bf16_supported):
        return _half(config)
    if config.bf16 in (True, "full"):
        _require_bf16(cuda, bf16_supported)
        return Precision(weights="bfloat16", bf16=True, full_eval=config.bf16 == "full")
    if config.bf16 == "auto" and cuda:
        return Precision(weights="bfloat16", bf16=True) if bf16_supported else _half(config)
    if config.load_in_8bit and cuda:
        return Precision(weights="float16")
    return Precision(weights="float32")


def machine_precision(config: Any) -> Precision:
    """The recipe's precision on this machine."""
    import torch

    cuda = torch.cuda.is_available()
    return choose_precision(config, cuda=cuda, bf16_supported=cuda and torch.cuda.is_bf16_supported())


def _half(config: Any) -> Precision:
    return Precision(weights="float16" if config.adapter else "float32", fp16=True)


def _require_bf16(cuda: bool, bf16_supported: bool) -> None:
    if cuda and not bf16_supported:
        raise UserError(
            Problem(
                code="unsupported",
                path="bf16",
                message="this GPU has no bf16 (it needs compute capability 8.0)",
                fix="set `bf16: auto`, or `fp16: true`",
            )
        )
