"""`launcher doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from launcher.cli.completing import run_names


def doctor(
    run: Annotated[
        str | None, typer.Argument(help="Name of one run, or the beginning of it; all runs when left out.", autocompletion=run_names)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find lost runs, leaks and leftovers, and say what to do. Changes nothing."""
    from launcher.backend.local.examination import examine
    from launcher.cli.backends import full_name, local_backend
    from launcher.cli.output import emit_json, problem_json, say
    from launcher.show.problems import render_problems

    backend = local_backend()
    found = examine(backend, full_name(backend, run) if run is not None else None)
    if as_json:
        emit_json(
            "doctor",
            {"runs": list(found.runs), "disk_bytes": found.disk_bytes, "findings": [problem_json(finding) for finding in found.findings]},
        )
        return
    if found.findings:
        say(render_problems(found.findings, kind="finding"))
    else:
        say("nothing is wrong")
    total = sum(found.disk_bytes.values())
    say(f"{len(found.runs)} run(s) looked at; their results take {total / 1e6:,.1f} MB")
