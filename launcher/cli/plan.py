"""`launcher plan FILE -o plan.lock`: decide everything about a run, show it, and pin it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plan(
    file: Annotated[Path, typer.Argument(help="Recipe.", show_default=False)],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the plan here, for `launcher up`.")] = None,
    cloud: Annotated[str | None, typer.Option(help="Where to run; `local` is this machine.")] = None,
    gpus: Annotated[str | None, typer.Option(help="GPU kind and count, `A100-80GB:8`.")] = None,
    model_config: Annotated[
        Path | None, typer.Option("--model-config", help="The model's config.json, for a model that is not here.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Where sealed checkpoints and the final model go too: a folder or URL.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop at a sealed checkpoint before the run costs more, in USD.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="Stop at a sealed checkpoint after so many hours.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; a random one by default.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one option of the recipe; may be repeated.")
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a recipe template; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Decide and pin everything about a run before it starts. Exit code 3 when the plan is refused: it does not fit, or is over budget."""
    import os
    import time

    from launcher.cli.batch import find_batch, without_auto
    from launcher.cli.output import emit_json, note, note_problems, say
    from launcher.cli.targets import flag_overrides
    from launcher.estimate.target_facts import template_target
    from launcher.plan.lessons import lessons_from
    from launcher.plan.lock import write_lock
    from launcher.plan.plan import make_plan
    from launcher.plan.prices import about_age, price_file, read_prices
    from launcher.plan.target import target_of
    from launcher.recipe.load import load_recipe
    from launcher.state.names import random_name
    from launcher.state.runs import state_root
    from runtime.config.problem import ExitCode, Problem, UserError

    flags = flag_overrides(
        {"cloud": cloud, "gpus": gpus, "storage": storage, "max_cost_usd": max_cost, "max_hours": max_hours, "name": name}
    )
    named = dict(variable.partition("=")[::2] for variable in variables or ())
    sets, automatic = without_auto(overrides or ())
    recipe = load_recipe(file, sets=(*sets, *flags), variables=named, target=template_target(gpus))
    config = recipe.checked.config
    if recipe.checked.errors or config is None:
        raise UserError(recipe.checked.errors)
    target = target_of(config.launch)
    if target is None:
        raise UserError(
            Problem(
                code="missing",
                path="launch.gpus",
                message="the plan needs a place to run",
                fix="add --cloud local for this machine, or --gpus A100-80GB:1; `launcher estimate` shows which fit",
            )
        )
    said = list(recipe.checked.warnings)
    if automatic:
        config, settled = find_batch(config, target.hardware, environment=os.environ, model_config=model_config)
        said.append(settled)
    prices = None if target.is_local else read_prices(price_file(os.environ))
    now = time.time()
    if not target.is_local:
        said += about_age(prices, now)
    made = make_plan(
        config,
        recipe=file,
        target=target,
        run_name=config.launch.name or random_name(),
        environment=os.environ,
        now=now,
        warnings=said,
        model_config=model_config,
        prices=prices,
        lessons=lessons_from(state_root(os.environ)),
        document=recipe.checked.document,
        refuse=False,
    )
    if output is not None and not made.refused:
        write_lock(output, made, folder=Path.cwd())
    if as_json:
        emit_json(
            "plan",
            made.to_json() | {"lock": str(output) if output and not made.refused else None},
            warnings=made.warnings,
            problems=made.refusals,
        )
    else:
        from launcher.show.plan_screen import render_plan

        note_problems(made.warnings, kind="warning")
        say(render_plan(made))
        if made.refused:
            note_problems(made.refusals)
        elif output is not None:
            note(f"written to {output}; `launcher up {output}` runs exactly this")
    return ExitCode.REFUSED if made.refused else ExitCode.OK
