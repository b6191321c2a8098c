"""`launcher down RUN`: nothing of it is left at work."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_and_sweep_names
from runtime.record import RunRecord


def down(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it; or of a sweep.", autocompletion=run_and_sweep_names)],
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete its output folder and its record too. A copy in storage is kept.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask; needs --yes.")] = False,
    storage: Annotated[
        str | None, typer.Option(help="Where to look for a run that was started on another computer; it is known here from then on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Free everything a run, or a sweep, holds: its processes and half-written files, with --delete its results too."""
    from launcher.backend.protocol import ACTIVE
    from launcher.cli.backends import backend_of, sweep_of
    from launcher.cli.confirm import confirm
    from launcher.cli.output import emit_json, note, say
    from launcher.show.problems import render_problems
    from runtime.config.problem import UserError

    if (sweep := sweep_of(run, storage=storage)) is not None:
        from launcher.cli.down_sweep import down_sweep

        down_sweep(run, *sweep, delete=delete, yes=yes, no_input=no_input or as_json, as_json=as_json)
        return
    backend, name = backend_of(run, storage=storage)
    try:
        record = backend.look(name)
    except UserError:
        record = None
    if record is not None and (delete or record.state in ACTIVE):
        what = "end it and delete" if record.state in ACTIVE and delete else "delete" if delete else "end it; it keeps"
        confirm(
            f"{name} is {record.state}: {what} {_results(record) if not delete or record.backend == 'local' else 'what is known of it here'}?",
            yes=yes,
            no_input=no_input or as_json,
        )
        note(f"taking {name} down …")
    left = backend.down(name, delete=delete)
    if as_json:
        emit_json("down", {"run": name, "deleted": delete}, warnings=left)
        return
    if left:
        note(render_problems(left, kind="warning"))
    if delete or record is None:
        say(f"{name}: deleted")
    else:
        say(f"{name}: nothing of it is at work; its results are in {_results(record)}")


def _results(record: RunRecord) -> str:
    """Where the run's results are: a folder here, or the storage of a run on rented machines."""
    return record.output_dir if record.backend == "local" else f"{record.storage}"
