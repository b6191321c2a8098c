"""`launcher metrics SWEEP`: the losses of its runs beside each other."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from launcher.backend.protocol import Backend
from launcher.cli.output import emit_json, note, say
from launcher.cli.sweep_json import sweep_data
from launcher.show.comparison import best_first, render_comparison
from launcher.show.curves import Curve, curves_of, draw, save_overlay
from launcher.state.refusals import refusal
from runtime.config.problem import UserError


def metrics_sweep(sweep: str, backend: Backend, runs: Sequence[str], *, png: Path | None, as_json: bool) -> None:
    """Draw the loss of every run that has one, the best run first, and compare them in a table."""
    statuses = best_first([backend.status(run) for run in runs])
    curves = {status.record.run: curves_of(backend.events(status.record.run).new()) for status in statuses}
    losses = [
        _titled(status.record.run, status.record.values, curve)
        for status in statuses
        for curve in curves[status.record.run]
        if curve.name == "loss"
    ]
    if png is not None and losses:
        try:
            save_overlay(losses, png, title=sweep)
        except OSError as error:
            raise UserError(refusal(error, png)) from error
    if as_json:
        told = {run: {curve.name: {"steps": curve.steps, "values": curve.values} for curve in found} for run, found in curves.items()}
        emit_json("metrics", sweep_data(sweep, statuses) | {"png": str(png) if png is not None and losses else None, "curves": told})
        return
    if png is not None and losses:
        note(f"wrote {png}")
    if losses:
        say(draw(losses, width=min(100, shutil.get_terminal_size().columns), height=8))
    say(render_comparison(sweep, statuses))


def _titled(run: str, values: dict[str, str], curve: Curve) -> Curve:
    return replace(curve, name=run, title=f"{run}  {' '.join(f'{name}={value}' for name, value in values.items())}")
