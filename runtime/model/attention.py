"""Which attention implementation a run uses, and whether it can keep packed samples apart here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from runtime.config.problem import Problem, UserError

# Flags of older recipes and the implementation each one names.
FLAGS = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "flex_attention": "flex_attention",
    "eager_attention": "eager",
}


def attention_of(config: Any, *, cuda: bool) -> str | None:
    """The name transformers knows the attention by: `attn_implementation`, else the flag that is set, else None.

    None leaves the choice to transformers: sdpa, or eager for the few architectures that sdpa cannot compute, such as Gemma 2.

    Every one of these finds the borders of packed samples from position_ids as long as no mask and no cache is passed. Raises UserError when the
    implementation cannot train on this machine.
    """
    path, name = "attn_implementation", config.attn_implementation
    if name is None:
        path, name = next(((flag, name) for flag, name in FLAGS.items() if getattr(config, flag)), ("", None))
    if name is None:
        return None
    if name.startswith("flash_attention") and not cuda:
        raise _refused(path, f"{name} needs an NVIDIA GPU and this machine has none")
    if name == "flash_attention_2" and find_spec("flash_attn") is None and find_spec("kernels") is None:
        raise _refused(
            path,
            "flash_attention_2 needs the package flash-attn, which is not installed",
            "pip install flash-attn, or set `sdp_attention: true`",
        )
    if name == "flex_attention" and not cuda:
        raise _refused(path, "flex_attention has no backward pass on a CPU")
    return str(name)


def compile_flex(config: Any, attention: str | None) -> None:
    """Compile flex attention with `flex_attn_compile_kwargs` for every model of this process; nothing when the recipe leaves it to transformers.

    Raises UserError when another attention runs, which nothing compiles.
    """
    settings = config.flex_attn_compile_kwargs
    if not settings:
        return
    if attention != "flex_attention":
        raise _refused(
            "flex_attn_compile_kwargs",
            f"they are for flex_attention, and this run uses {attention or 'another one'}",
            "set `flex_attention: true`",
        )
    from torch import compile as compiled
    from torch.nn.attention.flex_attention import flex_attention
    from transformers.integrations.flex_attention import WrappedFlexAttention

    class Compiled(WrappedFlexAttention):
        """The one compiled function, the same in training and evaluation."""

        _instance = None
        _compiled_flex_attention = staticmethod(compiled(flex_attention, **settings))

        def __init__(self, training: bool) -> None:
            self.training = training

    import transformers.integrations.flex_attention as used

    used.WrappedFlexAttention = Compiled  # type: ignore[misc]


def _refused(path: str, message: str, fix: str = "set `sdp_attention: true` instead") -> UserError:
    return UserError(Problem(code="unsupported", path=path, message=message, fix=fix))
