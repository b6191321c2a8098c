"""`launcher ps`: the runs this computer knows, here and on rented machines."""

from __future__ import annotations

from typing import Annotated

import typer


def ps(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    storage: Annotated[
        str | None, typer.Option(help="List the runs of this storage too; they are known on this computer from then on.")
    ] = None,
    active: Annotated[bool, typer.Option("--active", "-a", help="Only runs that are at work.")] = False,
) -> None:
    """List runs, the newest first."""
    import time

    from launcher.backend.protocol import ACTIVE
    from launcher.cli.backends import known_statuses, local_backend
    from launcher.cli.output import emit_json, note
    from launcher.cli.run_json import run_data
    from launcher.show.runs import progress_words, run_table

    backend = local_backend()
    if unreadable := backend.unreadable():
        note(f"{len(unreadable)} run(s) without a readable record; `launcher doctor` names them")
    statuses = [status for status in known_statuses(storage=storage) if not active or status.record.state in ACTIVE]
    if as_json:
        emit_json("ps", {"runs": [run_data(status) for status in statuses]})
        return
    if not statuses:
        note("no run is at work" if active else "no runs yet; `launcher up recipe.yml --cloud local` starts one")
        return
    from rich.console import Console

    Console().print(run_table([(status.record, progress_words(status)) for status in statuses], now=time.time()))
