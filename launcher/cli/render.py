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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the plain training config of a recipe."""
    from launcher.cli.output import emit_json, note_problems, say
    from launcher.estimate.target_facts import template_target
    from launcher.recipe.load import load_recipe
    from launcher.recipe.template import read_variables
    from runtime.config.plain import dump_yaml
    from runtime.config.problem import UserError

    checked = load_recipe(file, sets=sets or [], variables=read_variables(variables or []), target=template_target(gpus)).checked
    if checked.config is None:
        raise UserError(checked.errors)
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
