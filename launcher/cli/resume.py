"""`launcher resume RUN`: on from the newest sealed checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from launcher.cli.completing import run_and_sweep_names

if TYPE_CHECKING:
    from launcher.backend.protocol import RunStatus


def resume(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it; or of a sweep.", autocompletion=run_and_sweep_names)],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it has started; do not watch it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only say how it ended.")] = False,
    storage: Annotated[
        str | None, typer.Option(help="Where to look for a run that was started on another computer; it is known here from then on.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(min=0.01, help="New cap on all the run costs, in USD; what it has cost already counts. Unset: the recipe's."),
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option(min=0.001, help="Stop at a sealed checkpoint after so many hours from now on. Unset: the recipe's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Go on from the newest sealed checkpoint of a run, or of every run of a sweep that is not done. The cap on hours counts anew, the one on money goes on counting."""
    from launcher.backend.bounds import Bounds
    from launcher.cli.backends import backend_of, sweep_of
    from launcher.cli.output import note
    from launcher.cli.watching import finish

    if (sweep := sweep_of(run, storage=storage, quiet=quiet)) is not None:
        from launcher.cli.resume_sweep import resume_sweep

        bounds = Bounds(max_cost_usd=max_cost, max_hours=max_hours)
        return resume_sweep(run, *sweep, bounds=bounds, detach=detach, quiet=quiet, as_json=as_json)
    backend, name = backend_of(run, storage=storage, quiet=quiet)
    before = backend.status(name)
    origin = _origin(before)
    backend.resume(name, Bounds(max_cost_usd=max_cost, max_hours=max_hours))
    if not quiet:
        note(f"{name}: going on from {origin}")
        if words := _money(before, max_cost):
            note(f"  {words}")
    return finish(backend, name, command="resume", detach=detach, quiet=quiet, as_json=as_json)


def _origin(before: RunStatus) -> str:
    """Where the run goes on: as the run itself will find it, in its output folder or its storage."""
    from launcher.backend.pulling import newest_stored
    from runtime.config.problem import UserError

    step = max((checkpoint.step for checkpoint in before.checkpoints if checkpoint.sealed), default=-1)
    try:
        step = max(step, newest_stored(before.record))
    except UserError:
        known = f"the checkpoint of step {step}, or " if step >= 0 else ""
        return f"{known}the newest in its storage, which cannot be read from here"
    return f"the checkpoint of step {step}" if step >= 0 else "the start, as no checkpoint is sealed"


def _money(before: RunStatus, max_cost: float | None) -> str:
    """What the run has cost, and what a new cap leaves it."""
    if before.spent is None and before.record.backend != "local":
        return f"no machine has cost anything yet, so all of ${max_cost:,.2f} is left" if max_cost is not None else ""
    if before.spent is None:
        return "this machine costs nothing, so a cap on money changes nothing" if max_cost is not None else ""
    if before.spent.usd is None:
        return f"no price is known, so the cap of ${max_cost:,.2f} cannot be kept" if max_cost is not None else ""
    left = f", of ${max_cost:,.2f} ${max_cost - before.spent.usd:,.2f} are left" if max_cost is not None else ""
    return f"${before.spent.usd:,.2f} spent so far{left}"
