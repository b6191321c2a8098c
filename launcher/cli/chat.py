"""`launcher chat RUN`: talk to the trained model."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_names


def chat(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it.", autocompletion=run_names)],
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Say this and leave. Without it, and at a terminal: a conversation.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.0,
) -> int:
    """Talk to the model of a run in this terminal."""
    from launcher.cli.on_model import on_model

    # One word, so that a prompt that begins with a dash is not taken for an option.
    said = [f"--prompt={prompt}"] if prompt is not None else []
    return on_model(run, "chat", [*said, f"--max-new-tokens={max_new_tokens}", f"--temperature={temperature}"], writes=False)
