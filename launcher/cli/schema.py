"""`launcher schema`: the JSON Schema of recipes, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def schema(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write it to this file instead of printing it.", show_default=False)
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="Know the options of this recipe's plugins, too.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it inside the envelope of all commands.")] = False,
) -> None:
    """Print the JSON Schema of recipes for editors."""
    import json

    from launcher.cli.output import emit_json, note, say
    from launcher.recipe.load import options_of
    from runtime.config.json_schema import json_schema

    document = json_schema(options_of(recipe))
    if output is not None:
        output.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        note(f"wrote {output}; point an editor at it with `# yaml-language-server: $schema={output}` in a recipe's first line")
        if not as_json:
            return
    if as_json:
        emit_json("schema", {"schema": document})
    else:
        say(json.dumps(document, indent=2, ensure_ascii=False))
