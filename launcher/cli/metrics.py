"""`launcher metrics RUN`: its curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli.completing import run_and_sweep_names


def metrics(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it; or of a sweep.", autocompletion=run_and_sweep_names)],
    png: Annotated[Path | None, typer.Option("--png", help="Write the curves as a picture to this file.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Where to look for a run that was started on another computer; it is known here from then on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw loss, learning rate, speed and memory of a run, or the losses of a sweep's runs; steps repeated after a resume count once."""
    import shutil

    from launcher.cli.backends import backend_of, sweep_of
    from launcher.cli.output import emit_json, note, say
    from launcher.show.curves import curves_of, draw, save_png
    from launcher.state.refusals import refusal
    from runtime.config.problem import UserError

    if (sweep := sweep_of(run, storage=storage)) is not None:
        from launcher.cli.metrics_sweep import metrics_sweep

        metrics_sweep(run, *sweep, png=png, as_json=as_json)
        return
    backend, name = backend_of(run, storage=storage)
    curves = curves_of(backend.events(name).new())
    if png is not None and curves:
        try:
            save_png(curves, png, title=name)
        except OSError as error:
            raise UserError(refusal(error, png)) from error
    if as_json:
        emit_json(
            "metrics",
            {
                "run": name,
                "png": str(png) if png is not None and curves else None,
                "curves": {curve.name: {"steps": curve.steps, "values": curve.values} for curve in curves},
            },
        )
        return
    if not curves:
        note(f"{name} has trained no step yet")
        return
    if png is not None:
        note(f"wrote {png}")
    say(draw(curves, width=min(100, shutil.get_terminal_size().columns)))
