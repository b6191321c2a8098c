"""`launcher estimate FILE`: memory, time and cost before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from launcher.estimate.estimate import Estimate
    from launcher.estimate.fitting import Fit
    from runtime.config.load import Checked
    from runtime.config.problem import Problem


def estimate(
    file: Annotated[Path, typer.Argument(help="Recipe.", show_default=False)],
    gpus: Annotated[str | None, typer.Option(help="GPU kind and count, `A100-80GB:8`; `local` is this machine.")] = None,
    model_config: Annotated[
        Path | None, typer.Option("--model-config", help="The model's config.json, for a model that is not here.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one option of the recipe; may be repeated.")
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a recipe template; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Estimate memory, time and cost of a recipe. Without --gpus: which GPUs it fits on. Exit code 3 when it does not fit."""
    from launcher.cli.output import emit_json, note_problems, say
    from launcher.estimate.model_source import find_model
    from launcher.estimate.rows import data_size
    from runtime.config.problem import ExitCode

    checked = _checked(file, gpus, overrides or (), variables or ())
    config = checked.config
    assert config is not None
    model = find_model(config.base_model, model_config=model_config, changes=config.overrides_of_model_config)
    data = data_size(config, vocab=model.facts.vocab)
    warnings = [*checked.warnings]
    wanted = gpus or _recipe_gpus(config)
    if wanted is None and config.launch.cloud != "local":
        from launcher.estimate.fitting import fits

        rows = fits(config, model, data)
        smallest = next((row for row in rows if row.count is not None), rows[-1])
        if as_json:
            emit_json("estimate", _json(smallest.estimate, rows=rows), warnings=[*warnings, _no_prices()])
        else:
            from launcher.show.fit_table import render_fits

            note_problems(warnings, kind="warning")
            say(render_fits(smallest.estimate, rows))
        return ExitCode.OK if smallest.count is not None else ExitCode.REFUSED
    made = _one(config, model, data, wanted)
    if as_json:
        if made.hardware.rented:
            warnings.append(_no_prices())
        emit_json("estimate", _json(made), warnings=warnings)
    else:
        from launcher.show.memory_bar import render_estimate

        note_problems(warnings, kind="warning")
        say(render_estimate(made))
    return ExitCode.REFUSED if made.memory.verdict == "does-not-fit" else ExitCode.OK


def _checked(file: Path, gpus: str | None, overrides: list[str] | tuple[str, ...], variables: list[str] | tuple[str, ...]) -> Checked:
    """The checked recipe. Raises UserError with every error."""
    from launcher.recipe.load import load_recipe
    from launcher.recipe.target import read_target
    from runtime.config.problem import UserError

    named = dict(variable.partition("=")[::2] for variable in variables)
    recipe = load_recipe(
        file, sets=tuple(overrides), variables=named, target=read_target(None if gpus == "local" else gpus) if gpus else None
    )
    if recipe.checked.errors:
        raise UserError(recipe.checked.errors)
    return recipe.checked


def _recipe_gpus(config: Any) -> str | None:
    named: str | list[str] | None = config.launch.gpus
    return (named[0] if named else None) if isinstance(named, list) else named


def _one(config: Any, model: Any, data: Any, wanted: str | None) -> Estimate:
    from launcher.estimate.estimate import estimate as estimated
    from launcher.estimate.gpus import parse_gpus
    from launcher.estimate.hardware import cards
    from launcher.plan.machine import this_machine

    if wanted in (None, "local"):
        return estimated(config, model, this_machine(processes=config.launch.processes), data, usd_per_h=0.0)
    return estimated(config, model, cards(parse_gpus(str(wanted)), nodes=config.launch.nodes), data)


def _json(made: Estimate, rows: list[Fit] | None = None) -> dict[str, Any]:
    extra = {"fits": [row.to_json() for row in rows]} if rows is not None else {}
    return made.to_json() | {"offers": []} | extra


def _no_prices() -> Problem:
    from runtime.config.problem import Problem

    return Problem(
        code="no-prices",
        message="no price catalog is read yet, so there are no offers and no cost",
        place="--gpus",
        fix="multiply data.time.hours by your price per hour",
    )
