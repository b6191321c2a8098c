"""`launcher up FILE`: plan, confirm, run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def up(
    file: Annotated[Path, typer.Argument(help="Recipe, or a plan written by `launcher plan`.", show_default=False)],
    cloud: Annotated[
        str | None,
        typer.Option(help="Where to run: `local` is this machine, `aws`, `gcp`, `lambda`, `slurm` … a cloud of SkyPilot; any without it."),
    ] = None,
    gpus: Annotated[str | None, typer.Option(help="GPU kind and count, `A100-80GB:8`.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Number of machines.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of the cloud.")] = None,
    spot: Annotated[bool | None, typer.Option("--spot/--on-demand", help="Interruptible machines, or not.", show_default=False)] = None,
    storage: Annotated[str | None, typer.Option(help="Where sealed checkpoints and the final model go too: a folder or URL.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image of the runtime.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop at a sealed checkpoint before the run costs more, in USD.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="Stop at a sealed checkpoint after so many hours.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; a random one by default.")] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over the recipe; may be repeated.")
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a recipe that is a template.")
    ] = None,
    chaos: Annotated[
        list[str] | None,
        typer.Option(
            metavar="kill@STEP|preempt@STEP[:S]", help="Kill or preempt the training on purpose, to see it resume; may be repeated."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Show the plan and stop.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it has started; do not watch it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask; needs --yes.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only say how it ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Plan, confirm and run a recipe. The exit code is the run's."""
    import os

    from launcher.backend.chaos import check_chaos
    from launcher.backend.local.child_environment import check_secrets
    from launcher.backend.protocol import Backend
    from launcher.cli.backends import local_backend, sky_backend
    from launcher.cli.confirm import confirm
    from launcher.cli.deciding import decide
    from launcher.cli.output import emit_json, note, note_problems, say
    from launcher.cli.targets import is_here
    from launcher.cli.watching import finish
    from runtime.config.problem import ExitCode, UserError
    from runtime.config.secrets import check_hub_token, wanted_secrets

    flags = {
        "cloud": cloud,
        "gpus": gpus,
        "nodes": nodes,
        "region": region,
        "spot": spot,
        "storage": storage,
        "image": image,
        "max_cost_usd": max_cost,
        "max_hours": max_hours,
        "name": name,
    }
    decision = decide(file, flags=flags, sets=sets or (), variables=variables or (), chaos=check_chaos(chaos or ()), environment=os.environ)
    note_problems(decision.warnings, kind="warning")
    here = is_here(decision.job.config.launch)
    if here:
        check_secrets(decision.job.config.launch.secrets, os.environ)
        check_hub_token(decision.job.config, os.environ)
    else:
        from launcher.backend.sky.machine import check_storage

        # What is stored on this machine alone serves no other.
        check_secrets(wanted_secrets(decision.job.config), os.environ)
        check_storage(decision.job.config.launch.storage)
    if dry_run and as_json:
        emit_json("up", dict(decision.plan), warnings=decision.warnings, problems=decision.refusals)
        return ExitCode.REFUSED if decision.refusals else ExitCode.OK
    if dry_run:
        say(decision.screen)
    elif not quiet:
        note(decision.screen)
    if decision.refusals:
        raise UserError(decision.refusals, exit_code=ExitCode.REFUSED)
    if dry_run:
        return ExitCode.OK
    confirm("start this run?", yes=yes, no_input=no_input or as_json)
    backend: Backend = local_backend(quiet=quiet) if here else sky_backend(quiet=quiet)
    record = backend.submit(decision.job)
    if not quiet:
        note(f"run {record.run}, output in {record.output_dir if here else record.storage}")
    return finish(backend, record.run, command="up", detach=detach, quiet=quiet, as_json=as_json, warnings=decision.warnings)
