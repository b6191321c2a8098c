"""`launcher ps`: the runs of this computer."""

from __future__ import annotations

from typing import Annotated

import typer


def ps(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    active: Annotated[bool, typer.Option("--active", "-a", help="Only runs that are at work.")] = False,
) -> None:
    """List runs, the newest first."""
    import time

    from launcher.backend.protocol import ACTIVE
    from launcher.cli.backends import local_backend
    from launcher.cli.output import emit_json, note
    from launcher.cli.run_json import run_data
    from launcher.show.runs import progress_words, run_table

    backend = local_backend()
    if unreadable := backend.unreadable():
        note(f"{len(unreadable)} run(s) without a readable record; `launcher doctor` names them")
    statuses = [backend.status(record.run) for record in backend.runs() if not active or record.state in ACTIVE]
    if as_json:
        emit_json("ps", {"runs": [run_data(status) for status in statuses]})
        return
    if not statuses:
        note("no run is at work" if active else "no runs yet; `launcher up recipe.yml --cloud local` starts one")
        return
    from rich.console import Console

    Console().print(run_table([(status.record, progress_words(status)) for status in statuses], now=time.time()))
