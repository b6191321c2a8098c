"""`launcher estimate FILE`: memory, time and cost before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from launcher.estimate.hardware import Hardware
    from launcher.plan.offer import Offer
    from runtime.config.load import Checked


def estimate(
    file: Annotated[Path | None, typer.Argument(help="Recipe.", show_default=False)] = None,
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
    templates: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own families and templates.", show_default=False)
    ] = None,
    check: Annotated[
        str | None, typer.Option("--check", metavar="RUN", help="Compare what a run measured with its estimate; takes no recipe.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Estimate memory, time and cost of a recipe. Without --gpus: which GPUs it fits on. Exit code 3 when it does not fit, or the GPUs cannot compute it."""
    import os
    import time

    from launcher.cli.batch import settle_batch, without_auto
    from launcher.cli.output import emit_json, note_problems, say
    from launcher.estimate.advice import advice_on
    from launcher.estimate.calibration import calibrated
    from launcher.estimate.estimate import estimate as estimated
    from launcher.estimate.gpus import parse_gpus
    from launcher.estimate.model_source import find_model
    from launcher.estimate.rows import data_size
    from launcher.plan.environment import machine_of, target_problems
    from launcher.plan.lessons import lessons_from
    from launcher.plan.prices import about_age, price_file, read_prices
    from launcher.plan.rented import chosen, rented_offers
    from launcher.plan.seen import seen_below
    from launcher.plan.target import rented_target
    from launcher.recipe.grid import require_one_run
    from launcher.state.runs import state_root
    from runtime.config.problem import ExitCode

    if check is not None or file is None:
        return _check(check, file, as_json=as_json)
    require_one_run(overrides or ())
    sets, automatic = without_auto(overrides or ())
    checked = _checked(file, gpus, sets, variables or (), templates)
    # What is not supported here yet still needs memory and time: it is estimated, and said.
    config = checked.draft
    assert config is not None
    model = find_model(config.base_model, model_config=model_config, changes=config.overrides_of_model_config)
    data = data_size(config, vocab=model.facts.vocab)
    warnings = [*checked.warnings, *checked.errors]
    wanted = gpus or _recipe_gpus(config)
    now = time.time()
    rented = wanted not in (None, "local") or (wanted is None and config.launch.cloud != "local")
    prices = read_prices(price_file(os.environ)) if rented else None
    if rented:
        warnings += about_age(prices, now)
    if wanted is None and config.launch.cloud != "local":
        from launcher.cli.fitting import show_fits

        return show_fits(config, model, data, prices=prices, warnings=warnings, as_json=as_json)
    hardware = _hardware(config, wanted)
    if automatic:
        config, note = settle_batch(config, model, hardware, data)
        warnings.append(note)
    lessons = lessons_from(state_root(os.environ))
    made = calibrated(estimated(config, model, hardware, data, usd_per_h=None if rented else 0.0), lessons)
    offers: list[Offer] = []
    if prices is not None:
        target = rented_target(config.launch, (parse_gpus(str(wanted)),), hardware)
        offers = rented_offers(config, made, target, prices, lessons, seen_below(state_root(os.environ)))
        made = chosen(config, made, target, offers, lessons)
    advice = advice_on(config, model, data, made)
    unable, doubts, _ = target_problems(config, [machine_of(made.hardware, model.facts)], checked.document)
    warnings += doubts
    if as_json:
        emit_json(
            "estimate",
            made.to_json()
            | {
                "offers": [offer.to_json() for offer in offers],
                "prices": prices.to_json(now) if prices is not None else None,
                "advice": advice.to_json(),
            },
            warnings=warnings,
            problems=unable,
        )
    else:
        from launcher.show.advice import render_advice
        from launcher.show.estimate_screen import render_estimate

        note_problems(warnings, kind="warning")
        say(render_estimate(made))
        say(render_advice(advice, offers, prices=prices, now=now, max_cost=config.launch.max_cost_usd))
        note_problems(unable)
    return ExitCode.REFUSED if unable or made.memory.verdict == "does-not-fit" else ExitCode.OK


def _check(run: str | None, file: Path | None, *, as_json: bool) -> int:
    from runtime.config.problem import Problem, UserError

    if run is None:
        raise UserError(Problem(code="usage", message="an estimate needs a recipe", fix="launcher estimate RECIPE, or --check RUN"))
    if file is not None:
        raise UserError(
            Problem(code="usage", message="--check takes a run and no recipe", place=str(file), fix=f"launcher estimate --check {run}")
        )
    from launcher.cli.checking import show_check

    return show_check(run, as_json=as_json)


def _checked(file: Path, gpus: str | None, overrides: Sequence[str], variables: Sequence[str], templates: Path | None) -> Checked:
    """The checked recipe. Raises UserError with every error, unless all there is are options that are not supported here yet."""
    from launcher.estimate.target_facts import template_target
    from launcher.recipe.load import load_recipe
    from launcher.recipe.template import read_variables
    from runtime.config.problem import UserError

    target = template_target(None if gpus == "local" else gpus) if gpus else None
    recipe = load_recipe(file, sets=tuple(overrides), variables=read_variables(variables), target=target, templates=templates)
    if recipe.checked.draft is None:
        raise UserError(recipe.checked.errors)
    return recipe.checked


def _recipe_gpus(config: Any) -> str | None:
    named: str | list[str] | None = config.launch.gpus
    return (named[0] if named else None) if isinstance(named, list) else named


def _hardware(config: Any, wanted: str | None) -> Hardware:
    from launcher.estimate.gpus import parse_gpus
    from launcher.estimate.hardware import cards
    from launcher.plan.machine import this_machine

    if wanted in (None, "local"):
        return this_machine(processes=config.launch.processes)
    return cards(parse_gpus(str(wanted)), nodes=config.launch.nodes)
