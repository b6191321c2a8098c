"""`launcher publish RUN`: the last step of a run again, for a model that was trained but not verified."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_names


def publish(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it.", autocompletion=run_names)],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it has started; do not watch it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only say how it ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Merge and verify the model of a trained run again, and send it where it is wanted; nothing is done for one that is published."""
    from launcher.cli.backends import backend_of
    from launcher.cli.watching import finish
    from launcher.show.runs import model_folder
    from runtime.config.problem import Problem, UserError

    backend, name = backend_of(run, quiet=quiet)
    record = backend.look(name)
    # What a run on rented machines has trained is not here; that it has, its state says.
    if record.state not in ("unverified", "done") and model_folder(record) is None:
        raise UserError(
            Problem(
                code="no-model",
                message=f"run '{name}' has no final model yet ({record.state})",
                fix=f"`launcher resume {name}` goes on with its training",
            )
        )
    if record.state != "done":
        # A supervisor that finds a sealed final model has nothing to train and goes straight to publishing.
        backend.resume(name)
    return finish(backend, name, command="publish", detach=detach, quiet=quiet, as_json=as_json)
