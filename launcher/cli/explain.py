"""`launcher explain`: what an option means, its type, default and effect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _beginning_with(incomplete: str) -> list[str]:
    from runtime.config.shape import options

    return [path for path, _, _ in options() if path.startswith(incomplete)]


def explain(
    option: Annotated[
        str | None,
        typer.Argument(
            help="An option, such as lora_r or datasets[].type. Without one, all of them are listed.",
            show_default=False,
            autocompletion=_beginning_with,
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="Know the options of this recipe's plugins, too.", show_default=False)
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="NAME", help="List the options of one group: model, adapter, datasets, …", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain one option: meaning, type, default, effect."""
    from launcher.cli.output import emit_json, say
    from launcher.recipe.load import options_of
    from runtime.config.explain import explanation, explanations

    top = options_of(recipe)
    if option is None:
        everything = explanations(top)
        if group is not None:
            from runtime.config.reference import group_named

            names = group_named(group)
            everything = [entry for entry in everything if entry.path.partition(".")[0].removesuffix("[]") in names]
        if as_json:
            emit_json("explain", {"options": [entry.as_json() for entry in everything]})
            return
        width = max(len(entry.path) for entry in everything)
        for entry in everything:
            say(f"{entry.path.ljust(width)}  {entry.summary}")
        return
    entry = explanation(option, top)
    if as_json:
        emit_json("explain", entry.as_json())
        return
    say(entry.path)
    for line in entry.lines():
        say(f"  {line}")
