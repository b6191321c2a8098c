"""Liger's Triton kernels in the place of a model's own code, through the package's function for each architecture."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from runtime.config.problem import Problem, UserError
from runtime.model.load import load_architecture

# What each option is called by the package's functions; the gated activation has one name for each kind of activation.
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "liger_rope": ("rope",),
    "liger_rms_norm": ("rms_norm",),
    "liger_rms_norm_gated": ("rms_norm_gated",),
    "liger_layer_norm": ("layer_norm",),
    "liger_glu_activation": ("swiglu", "geglu"),
    "liger_cross_entropy": ("cross_entropy",),
    "liger_fused_linear_cross_entropy": ("fused_linear_cross_entropy",),
}
_INSTALL = 'pip install "finetune-launcher[kernels]"'
_IMPL = "LIGER_KERNEL_IMPL"


def require_liger(config: Any, *, cuda: bool) -> None:
    """Nothing, when the recipe's Liger options can have their effect here. Raises UserError without a GPU or without the package.

    Sets the variable that `liger_kernel_impl` stands for: the package reads it once, when it is first imported.
    """
    option = next(iter(_asked(config)), None)
    if option is None:
        return
    if not cuda:
        raise UserError(
            Problem(
                code="unsupported",
                path=option,
                message="Liger's kernels are written for GPUs, and this machine has none",
                fix="remove the liger_* options, or run on a GPU",
            )
        )
    if find_spec("liger_kernel") is None:
        raise UserError(
            Problem(code="missing-package", path=option, message="it needs the package liger_kernel, which is not installed", fix=_INSTALL)
        )
    if config.liger_kernel_impl:
        if "liger_kernel.ops" in sys.modules and os.environ.get(_IMPL) != config.liger_kernel_impl:
            raise UserError(
                Problem(
                    code="conflict",
                    path="liger_kernel_impl",
                    message="liger_kernel has been imported already, with other kernels",
                    fix=f"import it later, or set {_IMPL}={config.liger_kernel_impl} in the environment",
                )
            )
        os.environ[_IMPL] = config.liger_kernel_impl


def apply_liger(config: Any) -> None:
    """Put the kernels that the recipe asks for, and no others, into its architecture, for every model that this process makes from here on.

    Raises UserError for an architecture that the package does not know, and for an option that its function for the architecture lacks.
    """
    asked = _asked(config)
    if not asked:
        return
    patch = _imported("liger_kernel.transformers.monkey_patch", config)
    architecture = str(load_architecture(config).model_type)
    settings = liger_settings(asked, architecture, patch.MODEL_TYPE_TO_APPLY_LIGER_FN)
    try:
        patch.MODEL_TYPE_TO_APPLY_LIGER_FN[architecture](**settings)
    except (NotImplementedError, AssertionError, ImportError, AttributeError) as error:
        raise UserError(
            Problem(
                code="unsupported",
                path=asked[0],
                message=f"liger_kernel refuses these kernels for the architecture {architecture}: {(str(error).splitlines() or ['?'])[0]}",
                fix="remove the option it names",
            )
        ) from error
    if config.liger_use_token_scaling:
        # The forwards that the package puts into models look the loss up here at every call, and pass on what its signature has.
        losses = _imported("liger_kernel.transformers.functional", config)
        if not isinstance(losses.liger_fused_linear_cross_entropy, functools.partial):
            losses.liger_fused_linear_cross_entropy = functools.partial(losses.liger_fused_linear_cross_entropy, use_token_scaling=True)


def liger_settings(asked: list[str], architecture: str, functions: Mapping[str, Callable[..., None]]) -> dict[str, bool]:
    """The arguments of the package's function for `architecture`: true for the options in `asked`, false for every other kernel it knows.

    Its own defaults would turn on what the recipe does not name. Raises UserError as `apply_liger` does.
    """
    function = functions.get(architecture)
    if function is None:
        raise UserError(
            Problem(
                code="unsupported",
                path=asked[0],
                message=f"the installed liger_kernel has nothing for the architecture {architecture}",
                fix=f"remove the liger_* options; it knows {', '.join(sorted(functions))}",
            )
        )
    known = {name for name, parameter in inspect.signature(function).parameters.items() if isinstance(parameter.default, bool)}
    settings = dict.fromkeys(sorted(known), False)
    lacking = []
    for option in asked:
        arguments = [name for name in _ARGUMENTS.get(option, ()) if name in known]
        settings |= dict.fromkeys(arguments, True)
        if option in _ARGUMENTS and not arguments:
            lacking.append(option)
    if lacking:
        has = [option for option, names in _ARGUMENTS.items() if known.intersection(names)]
        raise UserError(
            [
                Problem(
                    code="unsupported",
                    path=option,
                    message=f"the installed liger_kernel has no such kernel for the architecture {architecture}",
                    fix=f"remove it; there are {', '.join(has)}",
                )
                for option in lacking
            ]
        )
    return settings


def _asked(config: Any) -> list[str]:
    return [option for option in _ARGUMENTS if getattr(config, option)]


def _imported(name: str, config: Any) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError, ValueError) as error:
        chosen = f" with `liger_kernel_impl: {config.liger_kernel_impl}`" if config.liger_kernel_impl else ""
        extra = f'pip install "liger_kernel[{config.liger_kernel_impl}]"' if config.liger_kernel_impl else _INSTALL
        raise UserError(
            Problem(
                code="missing-package",
                path=next(iter(_asked(config))),
                message=f"liger_kernel cannot be imported{chosen}: {(str(error).splitlines() or [type(error).__name__])[0]}",
                fix=extra,
            )
        ) from error
