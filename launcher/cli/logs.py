"""`launcher logs RUN`: what its processes printed."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_names


def logs(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it.", autocompletion=run_names)],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends; Ctrl-C leaves the run alone.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=0, help="Only the last lines; all by default.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Where to look for a run that was started on another computer; it is known here from then on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the log of a run; -f follows it."""
    import sys
    import time

    from launcher.backend.protocol import ACTIVE
    from launcher.cli.backends import backend_of
    from launcher.cli.output import emit_json
    from runtime.config.problem import Problem, UserError

    backend, name = backend_of(run, storage=storage)
    source = backend.log(name)
    if follow and as_json:
        raise UserError(Problem(code="usage", message="--json prints one object and cannot follow", fix="leave out --follow or --json"))
    text = source.new() + ("" if follow else source.rest())
    if lines is not None:
        text = "".join(text.splitlines(keepends=True)[-lines:] if lines else ())
    if as_json:
        emit_json("logs", {"run": name, "lines": text.splitlines()})
        return
    sys.stdout.write(text)
    while follow:
        # The state before the log: what was printed until the end is then still read.
        ended = backend.look(name).state not in ACTIVE
        sys.stdout.write(source.new())
        sys.stdout.flush()
        if ended:
            sys.stdout.write(source.rest())
            return
        time.sleep(0.2)
