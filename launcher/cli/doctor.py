"""`launcher doctor`: what is wrong, what costs money for nothing, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from launcher.cli.completing import run_names

if TYPE_CHECKING:
    from runtime.config.problem import Problem


def doctor(
    run: Annotated[
        str | None, typer.Argument(help="Name of one run, or the beginning of it; all runs when left out.", autocompletion=run_names)
    ] = None,
    rented: Annotated[
        bool | None,
        typer.Option(
            "--rented/--no-rented",
            help="Ask SkyPilot what is rented. Default: when a run on rented machines is known here, or asked about.",
            show_default=False,
        ),
    ] = None,
    end: Annotated[bool, typer.Option("--end", help="Give back what is rented and needed by no run, once confirmed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask; needs --yes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find lost runs, leaks, leftovers, and rented machines that no run needs. Changes nothing without --end."""
    from dataclasses import asdict

    from launcher.backend.local.examination import examine
    from launcher.backend.sky.examination import described, end_all, examine_rented
    from launcher.cli.backends import full_name, knows_rented, local_backend, sky_backend
    from launcher.cli.confirm import confirm
    from launcher.cli.output import emit_json, note, note_problems, problem_json, say
    from launcher.show.problems import render_problems
    from runtime.config.problem import UserError

    local = local_backend()
    name = full_name(local, run) if run is not None else None
    found = examine(local, name)
    there = None
    warnings: Sequence[Problem] = ()
    if rented or end or (rented is None and knows_rented(name)):
        sky = sky_backend(quiet=as_json)
        sightings = sky.sightings()
        unsure = {record.run for record, now in sightings if not now}
        try:
            there = examine_rented(sky.cloud.rented(), {record.run: record for record, _ in sightings}, unsure=unsure)
            there = there.of_run(name) if name is not None else there
        except UserError as error:
            # Asked for by nobody, it must not hide what is wrong on this computer.
            if rented or end:
                raise
            warnings = error.problems
            note_problems(warnings, kind="warning")
    findings = [*found.findings, *(there.findings if there is not None else ())]
    if end and there is not None and there.needless:
        note(render_problems(there.findings, kind="finding"))
        confirm(f"give back {len(there.needless)} thing(s), ${there.usd_per_h:,.2f} an hour?", yes=yes, no_input=no_input or as_json)
        end_all(sky.cloud, there.needless)
    if as_json:
        data = {
            "runs": list(found.runs),
            "disk_bytes": found.disk_bytes,
            "findings": [problem_json(finding) for finding in findings],
            "rented": None
            if there is None
            else {
                "needless": [asdict(thing) for thing in there.needless],
                "needed": [asdict(thing) for thing in there.needed],
                "foreign": [asdict(thing) for thing in there.foreign],
                "needless_usd_per_h": round(there.usd_per_h, 4),
                "ended": end,
            },
        }
        emit_json("doctor", data, warnings=warnings)
        return
    if findings and not end:
        say(render_problems(findings, kind="finding"))
    elif not findings:
        say("nothing is wrong" + (" on this computer" if warnings else ""))
    total = sum(found.disk_bytes.values())
    if found.runs or there is None:
        say(f"{len(found.runs)} run(s) looked at; their results take {total / 1e6:,.1f} MB")
    if there is None:
        return
    for thing in there.needed:
        say(f"{'may be needed, as the storage of its run does not answer' if thing.name in unsure else 'at work'}: {described(thing)}")
    for thing in there.foreign:
        say(f"not started by a run known here: {described(thing)}")
    if there.needless:
        say(f"{'given back' if end else 'rented for nothing'}: {len(there.needless)}, ${there.usd_per_h:,.2f} an hour")
    else:
        say("nothing is rented for nothing")
