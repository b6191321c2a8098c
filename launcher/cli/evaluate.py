"""`launcher evaluate RUN`: the model against its validation data."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_names


def evaluate(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it.", autocompletion=run_names)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Evaluate the model of a run on its validation data."""
    from launcher.cli.on_model import on_model

    return on_model(run, "evaluate", writes=False, as_json=as_json)
