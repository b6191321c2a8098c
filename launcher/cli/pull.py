"""`launcher pull RUN`: the final model, copied and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launcher.cli.completing import run_names


def pull(
    run: Annotated[str, typer.Argument(help="Name of the run, or the beginning of it.", autocompletion=run_names)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to copy into; it must be empty or missing. Default: ./RUN.")
    ] = None,
    step: Annotated[int | None, typer.Option(min=0, help="Copy the sealed checkpoint of this step instead of the final model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Copy the final model of a run from its output folder, or else from its storage; every byte is checked against its manifest."""
    from launcher.backend import pulling
    from launcher.cli.backends import full_name, local_backend
    from launcher.cli.output import emit_json, say

    backend = local_backend()
    record = backend.look(full_name(backend, run))
    pulled = pulling.pull(record, output if output is not None else Path(record.run), step=step)
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
