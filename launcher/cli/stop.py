"""`launcher stop RUN`: to rest at a sealed checkpoint."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_and_sweep_names


def stop(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it; or of a sweep.", autocompletion=run_and_sweep_names)],
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it has sealed and stopped.")] = True,
    storage: Annotated[
        str | None, typer.Option(help="Where to look for a run that was started on another computer; it is known here from then on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Stop a run, or all runs of a sweep, at a sealed checkpoint, from which `launcher resume` goes on."""
    import time

    from launcher.backend.protocol import ACTIVE
    from launcher.cli.backends import backend_of, sweep_of
    from launcher.cli.output import emit_json, note, say
    from launcher.cli.run_json import run_data
    from launcher.show.runs import advice_for

    if (sweep := sweep_of(run, storage=storage)) is not None:
        from launcher.cli.stop_sweep import stop_sweep

        stop_sweep(run, *sweep, wait=wait, as_json=as_json)
        return
    backend, name = backend_of(run, storage=storage)
    before = backend.look(name).state
    if before in (*ACTIVE, "lost", "orphaned"):
        note(f"stopping {name} …")
        backend.stop(name)
    while wait and backend.look(name).state in ACTIVE:
        time.sleep(0.1)
    backend.release(name)
    status = backend.status(name)
    record = status.record
    if as_json:
        emit_json("stop", run_data(status))
    elif record.state in ACTIVE:
        say(f"{name}: asked to stop")
    elif before == record.state:
        say(f"{name} was not at work: {record.state}")
    else:
        say(f"{name}: {record.state}" + (f": {record.message}" if record.message else "") + f"\n  {advice_for(record)}")
