"""`launcher merge RUN`: the trained adapter becomes part of its base model."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_names


def merge(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it.", autocompletion=run_names)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Merge the trained adapter of a run into its base model, into `final/merged`."""
    from launcher.cli.on_model import on_model

    return on_model(run, "merge", writes=True, as_json=as_json)
