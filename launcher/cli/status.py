"""`launcher status RUN`: one run."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_and_sweep_names


def status(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it; or of a sweep.", autocompletion=run_and_sweep_names)],
    storage: Annotated[
        str | None, typer.Option(help="Where to look for a run that was started on another computer; it is known here from then on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show one run: its state, progress, checkpoints and attempts; or the runs of a sweep beside each other, the best first."""
    import time

    from launcher.cli.backends import backend_of, sweep_of
    from launcher.cli.output import emit_json, say
    from launcher.cli.run_json import run_data
    from launcher.show.runs import describe

    if (sweep := sweep_of(run, storage=storage)) is not None:
        from launcher.cli.sweep_json import sweep_data
        from launcher.show.comparison import render_comparison

        several, runs = sweep
        statuses = [several.status(one) for one in runs]
        if as_json:
            emit_json("status", sweep_data(run, statuses))
        else:
            say(render_comparison(run, statuses))
        return
    backend, name = backend_of(run, storage=storage)
    found = backend.status(name)
    if as_json:
        emit_json("status", run_data(found))
    else:
        say(describe(found, now=time.time()))
