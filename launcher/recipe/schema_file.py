"""The JSON Schema beside a recipe, which its first line points editors at."""

from __future__ import annotations

import json
from pathlib import Path

from runtime.config.problem import Problem, UserError

NAME = "recipe.schema.json"


def schema_place(recipe: Path | None) -> tuple[Path, str]:
    """Where the schema of a recipe file lies and how the recipe's first line names it; for one that is printed, None, in the user's data folder.

    Editors read the name from where the recipe is, so that a schema beside it goes along when both are moved, shared or committed.
    """
    if recipe is not None:
        return recipe.parent / NAME, NAME
    from platformdirs import user_data_path

    path = user_data_path("finetune-launcher", appauthor=False) / NAME
    return path, path.as_uri()


def write_schema(path: Path) -> bool:
    """Write the schema of this version to `path`; whether it was not there yet. Raises UserError when a file that is no such schema is in its place."""
    from runtime.config.json_schema import json_schema

    document = json_schema()
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    try:
        there: str | None = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        there = None
    except UnicodeDecodeError:
        there = ""
    if there is not None and f'"title": "{document["title"]}"' not in there:
        raise UserError(
            Problem(
                code="conflict",
                place=str(path),
                message="this file is not the schema of recipes, and the name is taken",
                fix="Move it, or write the recipe into another folder.",
            )
        )
    if there != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return there is None
