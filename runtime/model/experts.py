"""Which code computes the experts of a mixture-of-experts model."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Implementations that come with a package of their own.
_PACKAGES = {"sonicmoe": "kernels", "deepgemm": "kernels"}


def experts_of(config: Any) -> dict[str, str]:
    """The keyword for `from_pretrained` and `from_config`, empty when transformers is to choose. Raises UserError when a package is missing."""
    name = config.experts_implementation
    if name is None:
        return {}
    package = _PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        raise UserError(
            Problem(
                code="unsupported",
                path="experts_implementation",
                message=f"{name} needs the package {package}, which is not installed",
                fix=f"pip install {package}, or use grouped_mm",
            )
        )
    return {"experts_implementation": name}


def check_experts(model: PreTrainedModel, config: Any) -> None:
    """Raise UserError when the recipe chooses an implementation and no layer of the model follows the choice."""
    if config.experts_implementation is None:
        return
    from transformers import PreTrainedModel

    if not any(isinstance(module, PreTrainedModel) and module._can_set_experts_implementation() for module in model.modules()):
        raise UserError(
            Problem(
                code="conflict",
                path="experts_implementation",
                message=f"{type(model).__name__} has no experts whose implementation can be chosen",
                fix="remove it",
            )
        )
