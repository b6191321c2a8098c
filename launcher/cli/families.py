"""`launcher families`: the recipe families, their sizes and methods, and the memory each needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from launcher.estimate.family_needs import Need
    from launcher.recipe.catalogue import Catalogue


def families(
    name: Annotated[str | None, typer.Argument(metavar="[FAMILY]", help="Only this family.", show_default=False)] = None,
    templates: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own families and templates.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the recipe families: sizes, methods, licences, and the memory of one GPU that each needs."""
    import os

    from launcher.cli.output import emit_json, say
    from launcher.estimate.family_needs import needs
    from launcher.recipe.catalogue import read_catalogue
    from launcher.recipe.template_folders import template_folders

    catalogue = read_catalogue(template_folders(templates, environment=os.environ))
    if name is not None:
        catalogue.family(name)
    found = list(needs(catalogue, tuple(catalogue.families) if name is None else (name,)))
    if as_json:
        emit_json("families", {"families": _json(catalogue, found)})
        return
    from launcher.show.family_table import render_families

    say(render_families(catalogue, found))


def _json(catalogue: Catalogue, found: list[Need]) -> list[dict[str, Any]]:
    return [
        {
            "family": family,
            "title": catalogue.family(family).title,
            "sizes": [
                {
                    "size": size,
                    **{key: value for key, value in catalogue.family(family).facts(size).items() if key in _SHOWN},
                    "methods": {need.method: need.to_json() for need in found if (need.family, need.size) == (family, size)},
                }
                for size in catalogue.family(family).sizes
            ],
        }
        for family in dict.fromkeys(need.family for need in found)
    ]


_SHOWN = ("instruct", "base", "context", "licence", "gated", "chat_template")
