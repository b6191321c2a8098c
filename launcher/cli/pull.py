"""`launcher pull RUN`: the final model, copied and verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from launcher.cli.completing import run_names
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from launcher.backend.pulling import Available


def pull(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it.", autocompletion=run_names)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to copy into; it must be empty or missing. Default: ./RUN.")
    ] = None,
    step: Annotated[int | None, typer.Option(min=0, help="Copy the sealed checkpoint of this step instead of the final model.")] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Copy the weights alone that were saved when a notice left no time for a checkpoint.")
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Copy from this storage alone, as launch.storage names it; also a run of another computer, or of one that is gone."
        ),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Copy nothing: show what is sealed and where.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Copy the final model of a run, or a checkpoint, from its output folder, or else from its storage; every byte is checked against its manifest."""
    from launcher.backend import pulling
    from launcher.backend.elsewhere import run_elsewhere
    from launcher.cli.backends import full_name, local_backend
    from launcher.cli.moving import shown
    from launcher.cli.output import emit_json, say

    if step is not None and weights:
        raise UserError(
            Problem(code="conflict", message="--step and --weights ask for two things", fix="give one of them; --list shows what there is")
        )
    if storage is not None:
        record = run_elsewhere(storage, run)
    else:
        backend = local_backend()
        record = backend.look(full_name(backend, run))
    if show_list:
        _show(record.run, pulling.available(record), as_json=as_json)
        return
    with shown(f"pulling {record.run}") as transit:
        pulled = pulling.pull(record, output if output is not None else Path(record.run), step=step, weights=weights, transit=transit)
    if as_json:
        emit_json(
            "pull",
            {
                "run": record.run,
                "path": str(pulled.path),
                "from": str(pulled.source),
                "files": pulled.files,
                "bytes": pulled.total_bytes,
                "verified": True,
            },
        )
    else:
        say(f"{pulled.path}: {pulled.files} files, {pulled.total_bytes / 1e6:,.1f} MB, verified")


def _show(run: str, found: Sequence[Available], *, as_json: bool) -> None:
    from launcher.cli.output import emit_json, say

    if as_json:
        sealed = [{"kind": one.kind, "step": one.step, "from": one.source, "bytes": one.total_bytes} for one in found]
        emit_json("pull", {"run": run, "sealed": sealed})
        return
    for one in found:
        say(f"{one.kind:<10}  step {one.step:>8,}  {one.total_bytes / 1e6:>10,.1f} MB  {one.source}")
    if not found:
        say("nothing is sealed yet")
