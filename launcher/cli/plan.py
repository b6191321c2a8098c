"""`launcher plan FILE -o plan.lock`: decide everything about a run, show it, and pin it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from launcher.cli.decision import Decision, SweepDecision
    from runtime.config.problem import Problem


def plan(
    file: Annotated[Path, typer.Argument(help="Recipe.", show_default=False)],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the plan here, for `launcher up`.")] = None,
    cloud: Annotated[str | None, typer.Option(help="Where to run; `local` is this machine.")] = None,
    gpus: Annotated[str | None, typer.Option(help="GPU kind and count, `A100-80GB:8`; several with commas, of which any will do.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Number of machines.")] = None,
    region: Annotated[str | None, typer.Option(help="Region of the cloud; several with commas, of which any will do.")] = None,
    spot: Annotated[bool | None, typer.Option("--spot/--on-demand", help="Interruptible machines, or not.", show_default=False)] = None,
    model_config: Annotated[
        Path | None, typer.Option("--model-config", help="The model's config.json, for a model that is not here.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="Where sealed checkpoints and the final model go too: a folder or URL.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image of the runtime.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Stop at a sealed checkpoint before the run, or all runs of a sweep together, cost more, in USD.")
    ] = None,
    max_hours: Annotated[float | None, typer.Option(help="Stop at a sealed checkpoint after so many hours.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run or the sweep; a random one by default.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE[,VALUE]",
            help="Override one option of the recipe, with several values for a run of each; may be repeated.",
        ),
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a recipe template; may be repeated.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own families and templates.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Decide and pin everything about a run before it starts. Exit code 3 when the plan is refused: it does not fit, or is over budget."""
    import os

    from launcher.cli.deciding import decide_recipe
    from launcher.cli.output import emit_json, note, note_problems, say
    from launcher.cli.request import Request
    from launcher.cli.sweeping import decide_sweep
    from launcher.plan.pins import pinning_of
    from launcher.recipe.grid import read_grid
    from runtime.config.problem import ExitCode

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
        sets=tuple(overrides or ()),
        variables=tuple(variables or ()),
        model_config=model_config,
        templates=templates,
        # Only what is written down is looked up elsewhere.
        pinning=pinning_of(os.environ) if output is not None else None,
    )
    grid = read_grid(request.sets)
    decision = decide_sweep(request, grid) if grid.is_sweep else decide_recipe(request)
    warnings = [*decision.warnings, *_lacking(decision)]
    written = output is not None and not decision.refusals
    if output is not None and written:
        _write(output, decision)
    if as_json:
        lock = {"lock": str(output) if written else None}
        emit_json("plan", dict(decision.plan) | lock, warnings=warnings, problems=decision.refusals)
    else:
        note_problems(warnings, kind="warning")
        say(decision.screen)
        note_problems(decision.refusals)
        if written:
            note(f"written to {output}; `launcher up {output}` runs exactly this")
    return ExitCode.REFUSED if decision.refusals else ExitCode.OK


def _lacking(decision: Decision | SweepDecision) -> tuple[Problem, ...]:
    """What `launcher up` would refuse a run on rented machines for: it has nowhere to leave its results, or a cap that nothing keeps."""
    from launcher.backend.sky.required_storage import check_storage
    from launcher.cli.decision import SweepDecision
    from launcher.cli.needs import about_cap
    from launcher.cli.targets import is_here
    from runtime.config.problem import UserError

    job = decision.runs[0].job if isinstance(decision, SweepDecision) else decision.job
    if is_here(job.config.launch):
        return ()
    try:
        check_storage(job.config.launch.storage)
    except UserError as error:
        return (*error.problems, *about_cap(job))
    return tuple(about_cap(job))


def _write(path: Path, decision: Decision | SweepDecision) -> None:
    from launcher.cli.decision import SweepDecision
    from launcher.plan.lock import write_lock, write_sweep_lock

    if isinstance(decision, SweepDecision):
        assert decision.made is not None
        write_sweep_lock(path, decision.made, folder=Path.cwd(), pins=[run.pins for run in decision.runs])
    else:
        assert decision.made is not None
        write_lock(path, decision.made, folder=Path.cwd(), pins=decision.pins)
