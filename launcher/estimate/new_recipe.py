"""A recipe made to order: rendered, with the user's values in it, valid, and with a batch that fits the GPUs it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.estimate.estimate import Estimate, estimate
from launcher.estimate.hardware import Hardware
from launcher.estimate.model_source import find_model
from launcher.estimate.rows import UNKNOWN
from launcher.recipe.amend import amended
from launcher.recipe.catalogue import Catalogue, Order
from runtime.config.load import check_text
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecipe:
    """The text of a recipe, its config, and its estimate on the GPUs it is for; None without any, or where the model's shape is not known here."""

    text: str
    config: TrainingConfig
    warnings: tuple[Problem, ...]
    estimate: Estimate | None


def new_recipe(catalogue: Catalogue, order: Order, *, sets: Sequence[str] = (), hardware: Hardware | None = None) -> NewRecipe:
    """The recipe `order` asks for with `sets` in it. On `hardware` the micro batch is the largest power of two that surely fits, or 1.

    Raises UserError for unknown names, broken templates, and anything that makes the recipe invalid.
    """
    if hardware is None:
        return _made(catalogue, order, sets)
    tuning = catalogue.tuning(order.family, order.size, order.method)
    found = _made(catalogue, order, sets, micro_batch=1, hardware=hardware)
    size = 2
    while found.estimate is not None and size * hardware.processes <= tuning.batch:
        larger = _made(catalogue, order, sets, micro_batch=size, hardware=hardware)
        if larger.estimate is None or larger.estimate.memory.verdict != "fits":
            break
        found, size = larger, size * 2
    return found if found.estimate is not None else _made(catalogue, order, sets)


def _made(
    catalogue: Catalogue, order: Order, sets: Sequence[str], *, micro_batch: int | None = None, hardware: Hardware | None = None
) -> NewRecipe:
    name = f"{order.family} {order.size} {order.method}"
    plain = catalogue.render(order, micro_batch=micro_batch)
    # Laid over it and not written, so that what is wrong with a value is said of the `--set` it came from.
    checked = check_text(plain, file=name, overrides=sets)
    if checked.config is None:
        raise UserError(checked.errors)
    text = amended(plain, sets)
    return NewRecipe(text=text, config=checked.config, warnings=checked.warnings, estimate=_estimate(checked.config, hardware))


def _estimate(config: TrainingConfig, hardware: Hardware | None) -> Estimate | None:
    if hardware is None:
        return None
    try:
        model = find_model(config.base_model, changes=config.overrides_of_model_config)
    except UserError:
        return None
    return estimate(config, model, hardware, UNKNOWN)
