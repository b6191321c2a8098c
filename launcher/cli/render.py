"""`launcher render`: the plain training config of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def render(
    file: Annotated[Path, typer.Argument(help="A recipe file.", show_default=False)],
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="KIND:COUNT",
            help="The target, such as A100-80GB:8; a template sees it as gpu.name and gpu.count.",
            show_default=False,
        ),
    ] = None,
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over the recipe.")] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a recipe that is a template.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own families and templates.", show_default=False)
    ] = None,
    task: Annotated[bool, typer.Option("--task", help="Print the SkyPilot task of the run instead, for plain `sky launch`.")] = False,
    cloud: Annotated[str | None, typer.Option(help="With --task: which cloud.")] = None,
    region: Annotated[str | None, typer.Option(help="With --task: region of the cloud.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="With --task: number of machines.")] = None,
    spot: Annotated[
        bool | None, typer.Option("--spot/--on-demand", help="With --task: interruptible machines, or not.", show_default=False)
    ] = None,
    storage: Annotated[str | None, typer.Option(help="With --task: where sealed checkpoints and the final model go.")] = None,
    image: Annotated[str | None, typer.Option(help="With --task: container image of the runtime.")] = None,
    name: Annotated[str | None, typer.Option(help="With --task: name of the run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the plain training config of a recipe, or its SkyPilot task."""
    from launcher.cli.output import emit_json, note_problems, say
    from launcher.cli.targets import first_kind, flag_overrides
    from launcher.estimate.target_facts import template_target
    from launcher.recipe.grid import require_one_run
    from launcher.recipe.load import load_recipe
    from launcher.recipe.template import read_variables
    from runtime.config.plain import dump_yaml
    from runtime.config.problem import Problem, UserError

    flags = {"cloud": cloud, "region": region, "nodes": nodes, "spot": spot, "storage": storage, "image": image, "name": name}
    given = flag_overrides(flags)
    if given and not task:
        raise UserError(
            Problem(
                code="usage",
                message=f"only --task takes {', '.join(f'--{key}' for key, value in flags.items() if value is not None)}",
                fix="add --task",
            )
        )
    require_one_run(sets or ())
    if task and gpus is not None:
        given += flag_overrides({"gpus": gpus})
    checked = load_recipe(
        file,
        sets=[*(sets or []), *given],
        variables=read_variables(variables or []),
        target=template_target(first_kind(gpus)),
        templates=templates,
    ).checked
    if checked.config is None:
        raise UserError(checked.errors)
    if task:
        from launcher.cli.task_text import task_of

        text = task_of(checked.config, recipe=str(file), document=checked.document, templates=templates)
    else:
        text = dump_yaml(checked.config)
    if as_json:
        emit_json(
            "render",
            {"file": str(file), "config": checked.config.model_dump(mode="json", exclude_unset=True), "text": text},
            warnings=checked.warnings,
        )
        return
    note_problems(checked.warnings, kind="warning")
    say(text.rstrip("\n"))
