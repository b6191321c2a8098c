"""Layers replaced by kernels from the Hub."""

from __future__ import annotations

from typing import Any

from runtime.config.problem import Problem, UserError


def kernels_of(config: Any, *, cuda: bool) -> dict[str, bool]:
    """The keyword for `from_pretrained`. Raises UserError without a GPU, where no kernel would replace anything, and without the package."""
    if not config.use_kernels:
        return {}
    if not cuda:
        raise UserError(
            Problem(
                code="unsupported",
                path="use_kernels",
                message="the kernels of the Hub are for GPUs, and this machine has none",
                fix="remove it, or run on a GPU",
            )
        )
    from transformers.utils import is_kernels_available

    if not is_kernels_available():
        raise UserError(
            Problem(
                code="unsupported",
                path="use_kernels",
                message="it needs the package kernels, in a version transformers works with, and finds none",
                fix="pip install kernels",
            )
        )
    return {"use_kernels": True}
