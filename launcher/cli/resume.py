"""`launcher resume RUN`: on from the newest sealed checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_names


def resume(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it.", autocompletion=run_names)],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it has started; do not watch it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only say how it ended.")] = False,
    storage: Annotated[
        str | None, typer.Option(help="Where to look for a run that was started on another computer; it is known here from then on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Go on from a run's newest sealed checkpoint. `launch.max_hours` counts anew."""
    from launcher.cli.backends import backend_of
    from launcher.cli.output import note
    from launcher.cli.watching import finish

    backend, name = backend_of(run, storage=storage, quiet=quiet)
    step = max((checkpoint.step for checkpoint in backend.status(name).checkpoints if checkpoint.sealed), default=-1)
    backend.resume(name)
    if not quiet:
        note(f"{name}: going on from " + (f"the checkpoint of step {step}" if step >= 0 else "the start, as no checkpoint is sealed"))
    return finish(backend, name, command="resume", detach=detach, quiet=quiet, as_json=as_json)
