"""The packages that optimizers come from, and how a missing one is refused."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from runtime.config.problem import Problem, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package by the name it is imported by, and the way to get it."""

    module: str
    fix: str


TORCHAO = Package(module="torchao", fix="pip install torchao")
OPTIMI = Package(module="optimi", fix="pip install torch-optimi")
_BITSANDBYTES = Package(module="bitsandbytes", fix="pip install bitsandbytes")
_GALORE = Package(module="galore_torch", fix="pip install galore-torch")
_APOLLO = Package(module="apollo_torch", fix="pip install apollo-torch")
_LOMO = Package(module="lomo_optim", fix="pip install lomo-optim")
_SCHEDULE_FREE = Package(module="schedulefree", fix="pip install schedulefree")

# By the optimizer's name; those that torch and transformers bring along are not here.
PACKAGES: dict[str, Package] = {
    "adamw_torch_4bit": TORCHAO,
    "adamw_torch_8bit": TORCHAO,
    "ao_adamw_4bit": TORCHAO,
    "ao_adamw_8bit": TORCHAO,
    "ao_adamw_fp8": TORCHAO,
    "optimi_adamw": OPTIMI,
    "stable_adamw": OPTIMI,
    "lion_pytorch": Package(module="lion_pytorch", fix="pip install lion-pytorch"),
    "came_pytorch": Package(module="came_pytorch", fix="pip install came-pytorch"),
    "adopt_adamw": Package(module="pytorch_optimizer", fix="pip install pytorch-optimizer"),
    "grokadamw": Package(module="grokadamw", fix="pip install grokadamw"),
    "adamw_anyprecision": Package(
        module="torchdistx", fix="build https://github.com/pytorch/torchdistx, or use `optimizer: optimi_adamw`, which needs no build"
    ),
    "adamw_torch_xla": Package(module="torch_xla", fix="it is for TPUs; use `optimizer: adamw_torch_fused` elsewhere"),
    "adamw_torch_npu_fused": Package(module="torch_npu", fix="it is for Ascend NPUs; use `optimizer: adamw_torch_fused` elsewhere"),
    "lomo": _LOMO,
    "adalomo": _LOMO,
    **dict.fromkeys(("galore_adamw", "galore_adafactor", "galore_adamw_layerwise", "galore_adafactor_layerwise"), _GALORE),
    **dict.fromkeys(("galore_adamw_8bit", "galore_adamw_8bit_layerwise"), _GALORE),
    **dict.fromkeys(("apollo_adamw", "apollo_adamw_layerwise"), _APOLLO),
    **dict.fromkeys(("schedule_free_radam", "schedule_free_adamw", "schedule_free_sgd"), _SCHEDULE_FREE),
    **dict.fromkeys(("ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit"), _BITSANDBYTES),
    **dict.fromkeys(("adamw_bnb_8bit", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"), _BITSANDBYTES),
    **dict.fromkeys(("lion_8bit", "lion_32bit", "paged_lion_32bit", "paged_lion_8bit"), _BITSANDBYTES),
    **dict.fromkeys(("rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit"), _BITSANDBYTES),
}


# Their packages call CUDA at every step.
GPU_ONLY = frozenset({"galore_adamw_8bit"})


def require_package(config: Any, *, cuda: bool) -> None:
    """Nothing, when the recipe's optimizer can run here. Raises UserError when its package is not installed, or when it needs a GPU."""
    name = str(getattr(config.optimizer, "value", config.optimizer))
    if name in GPU_ONLY and not cuda:
        raise UserError(
            Problem(
                code="unsupported",
                path="optimizer",
                message=f"'{name}' needs a GPU, and this machine has none",
                fix="use `optimizer: galore_adamw`, or run on a GPU",
            )
        )
    package = PACKAGES.get(name)
    if package is not None and find_spec(package.module) is None:
        raise UserError(
            Problem(
                code="unsupported",
                path="optimizer",
                message=f"'{name}' needs the package {package.module}, which is not installed here",
                fix=package.fix,
            )
        )


def allow_state(config: Any) -> None:
    """Let a checkpoint's optimizer state be read back where it holds a package's own small objects, which torch refuses unless they are named."""
    import torch

    name = str(getattr(config.optimizer, "value", config.optimizer))
    if name.startswith("galore"):
        from galore_torch.galore_projector import GaLoreProjector

        torch.serialization.add_safe_globals([GaLoreProjector])
    elif name.startswith("apollo"):
        from apollo_torch.random_projector import GradientProjector
        from apollo_torch.svd_projector import GaLoreProjector as SvdProjector

        torch.serialization.add_safe_globals([GradientProjector, SvdProjector])
