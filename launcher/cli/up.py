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
    gpus: Annotated[str | None, typer.Option(help="GPU kind and count, `A100-80GB:8`; several with commas, of which any will do.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Number of machines.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of the cloud; several with commas, of which any will do.")] = None,
    spot: Annotated[bool | None, typer.Option("--spot/--on-demand", help="Interruptible machines, or not.", show_default=False)] = None,
    storage: Annotated[str | None, typer.Option(help="Where sealed checkpoints and the final model go too: a folder or URL.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image of the runtime.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Stop at a sealed checkpoint before the run, or all runs of a sweep together, cost more, in USD.")
    ] = None,
    max_hours: Annotated[float | None, typer.Option(help="Stop at a sealed checkpoint after so many hours.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run or the sweep; a random one by default.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE[,VALUE]", help="Lay a value over the recipe, or several for a run of each; may be repeated."
        ),
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a recipe that is a template.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own families and templates.", show_default=False)
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
    """Plan, confirm and run a recipe. The exit code is the run's.

    An option with several values, `--set learning_rate=1e-4,2e-4`, makes a run of each: a sweep.
    """
    import os

    from launcher.backend.chaos import check_chaos
    from launcher.backend.protocol import Backend
    from launcher.cli.backends import local_backend, sky_backend
    from launcher.cli.confirm import confirm
    from launcher.cli.deciding import decide
    from launcher.cli.needs import check_cap, check_needs
    from launcher.cli.output import note, note_problems
    from launcher.cli.request import Request
    from launcher.cli.showing import show_plan
    from launcher.cli.targets import is_here
    from launcher.cli.up_sweep import up_sweep
    from launcher.cli.watching import finish
    from launcher.plan.lock import is_lock, is_sweep_lock
    from launcher.recipe.grid import read_grid

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
    request = Request(
        file=file,
        flags=flags,
        environment=os.environ,
        sets=tuple(sets or ()),
        variables=tuple(variables or ()),
        chaos=check_chaos(chaos or ()),
        templates=templates,
    )
    grid = None if is_lock(file) else read_grid(request.sets)
    if is_sweep_lock(file) or (grid is not None and grid.is_sweep):
        return up_sweep(request, grid, dry_run=dry_run, detach=detach, yes=yes, no_input=no_input, quiet=quiet, as_json=as_json)
    decision = decide(request)
    note_problems(decision.warnings, kind="warning")
    here = is_here(decision.job.config.launch)
    check_needs(decision.job.config, os.environ)
    if (code := show_plan(decision, command="up", dry_run=dry_run, quiet=quiet, as_json=as_json)) is not None:
        return code
    check_cap(decision.job)
    confirm("start this run?", yes=yes, no_input=no_input or as_json)
    backend: Backend = local_backend(quiet=quiet) if here else sky_backend(quiet=quiet, templates=templates)
    record = backend.submit(decision.job)
    if not quiet:
        note(f"run {record.run}, output in {record.output_dir if here else record.storage}")
    return finish(backend, record.run, command="up", detach=detach, quiet=quiet, as_json=as_json, warnings=decision.warnings)
