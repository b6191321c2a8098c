"""A recipe made to order: rendered, with the user's values in it, valid, and trained in a way and with a batch that fit the GPUs it is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from launcher.estimate.chosen_way import Choice, chosen_way, smallest_target
from launcher.estimate.estimate import Estimate, estimate, memory_of
from launcher.estimate.hardware import Hardware
from launcher.estimate.model_source import ModelSource, find_model
from launcher.estimate.rows import UNKNOWN
from launcher.recipe.amend import amended
from launcher.recipe.catalogue import Catalogue, Order
from launcher.recipe.way import PLAIN, Figures, Way
from runtime.config.load import Checked, check_text
from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecipe:
    """The text of a recipe, its config, and its estimate on the GPUs it is for; None without any, or where the model's shape is not known here."""

    text: str
    config: TrainingConfig
    warnings: tuple[Problem, ...]
    estimate: Estimate | None
    way: Way = PLAIN


def new_recipe(catalogue: Catalogue, order: Order, *, sets: Sequence[str] = (), hardware: Hardware | None = None) -> NewRecipe:
    """The recipe `order` asks for with `sets` in it. On `hardware` it trains in the first way that fits, with the largest power of two of rows at a time.

    Raises UserError for unknown names, broken templates, anything that makes the recipe invalid, and (exit 3) a recipe that `hardware` holds in no way.
    """
    plain = _written(catalogue, order, sets)
    if plain.config is None:
        raise UserError(plain.errors)
    model = _model(plain.config)
    if hardware is None or model is None:
        return _made(catalogue, order, sets)
    choice = chosen_way(partial(_one_row, catalogue, order, sets), model, hardware)
    if choice.taken is None:
        raise UserError(_refusal(catalogue, order, choice, model, hardware), exit_code=ExitCode.REFUSED)
    way, size, memory = choice.taken.way, 1, choice.taken.memory
    given = any(text.partition("=")[0].strip() == "micro_batch_size" for text in sets)
    most = catalogue.tuning(order.family, order.size, order.method).batch // hardware.processes
    for tried in [int(choice.taken.config.micro_batch_size or 1)] if given else _powers_of_two(most):
        # Rendered each time: how often gradients are added up goes with it.
        larger = _written(catalogue, order, sets, micro_batch=tried, way=way).config
        held = memory_of(larger, model, hardware, UNKNOWN)[1] if larger is not None else None
        if held is None or (held.verdict != "fits" and not given):
            break
        size, memory = tried, held
    made = _made(catalogue, order, sets, micro_batch=size, way=way, figures=choice.figures(memory.held.value))
    return replace(made, estimate=estimate(made.config, model, hardware, UNKNOWN))


def _powers_of_two(most: int) -> Iterator[int]:
    """2, 4, 8 … up to `most`."""
    size = 2
    while size <= most:
        yield size
        size *= 2


def _written(
    catalogue: Catalogue,
    order: Order,
    sets: Sequence[str],
    *,
    micro_batch: int | None = None,
    way: Way = PLAIN,
    figures: Figures | None = None,
) -> Checked:
    """The recipe rendered and checked. The values of `sets` are laid over it and not written, so that what is wrong with one is said of its `--set`."""
    text = catalogue.render(order, micro_batch=micro_batch, way=way, figures=figures)
    return check_text(text, file=f"{order.family} {order.size} {order.method}", overrides=sets)


def _made(
    catalogue: Catalogue,
    order: Order,
    sets: Sequence[str],
    *,
    micro_batch: int | None = None,
    way: Way = PLAIN,
    figures: Figures | None = None,
) -> NewRecipe:
    checked = _written(catalogue, order, sets, micro_batch=micro_batch, way=way, figures=figures)
    if checked.config is None:
        raise UserError(checked.errors)
    text = amended(checked.document.text, sets)
    return NewRecipe(text=text, config=checked.config, warnings=checked.warnings, estimate=None, way=way)


def _model(config: TrainingConfig) -> ModelSource | None:
    try:
        return find_model(config.base_model, changes=config.overrides_of_model_config)
    except UserError:
        return None


def _refusal(catalogue: Catalogue, order: Order, choice: Choice, model: ModelSource, hardware: Hardware) -> Problem:
    """Why nothing was written, and what would do: the smallest machine, another method on this one."""
    least = min((found for found in choice.tried if found.built), key=lambda found: found.memory.held.value)
    target = smallest_target(choice.tried, model)
    helps = [
        f"The smallest that holds it is {target.gpu.name}:{target.count}." if target is not None else "No one machine known here holds it.",
    ]
    if fitting := _other_methods(catalogue, order, hardware):
        helps.append(f"On {hardware.name}, `--method {fitting[0]}` fits" + (f", and so does {fitting[1]}" if fitting[1:] else "") + ".")
    unbuilt = next((found for found in choice.tried if not found.built and found.memory.verdict != "does-not-fit"), None)
    if unbuilt is not None:
        helps.append(
            f"With weights, gradients and optimizer spread over the {hardware.processes} GPUs{' and in host memory' if unbuilt.way.offloaded else ''}, each would "
            f"hold about {unbuilt.memory.held.value:.0f} GiB: that is FSDP, and {unbuilt.refused}."
        )
    helps.append("Without --gpus it is written for none in particular.")
    return Problem(
        code="does-not-fit",
        place=f"--gpus {hardware.name}",
        message=f"each GPU must hold about {least.memory.held.value:.1f} GiB with one row at a time and all that saves memory at no cost but time, "
        f"and one of these has {least.memory.capacity_gib:.1f}",
        fix=" ".join(helps),
    )


def _other_methods(catalogue: Catalogue, order: Order, hardware: Hardware) -> list[str]:
    """The other methods of this size that learn from the same data and fit, in the order of the facts."""
    if order.method == "pretrain":
        return []
    fitting = []
    for method in catalogue.family(order.family).sizes[order.size].methods:
        if method in (order.method, "pretrain") or method not in catalogue.methods:
            continue
        written = partial(_one_row, catalogue, replace(order, method=method), ())
        config = written(PLAIN).config
        model = _model(config) if config is not None else None
        if model is not None and chosen_way(written, model, hardware).taken is not None:
            fitting.append(method)
    return fitting


def _one_row(catalogue: Catalogue, order: Order, sets: Sequence[str], way: Way) -> Checked:
    return _written(catalogue, order, sets, micro_batch=1, way=way)
