"""What `up` and `plan` decide about a sweep: every run of the grid planned, their refusals gathered, the budget shared out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from launcher.cli.deciding import decide_recipe, load
from launcher.cli.decision import Decision, SweepDecision
from launcher.cli.request import Request
from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from launcher.plan.plan import Plan
    from launcher.plan.sweep import Member
    from launcher.recipe.grid import Grid
    from runtime.config.launch import LaunchConfig

# A run is called SWEEP-NUMBER, and a run's name has at most 40 characters.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,36}")
_Found = TypeVar("_Found")


def decide_sweep(request: Request, grid: Grid) -> SweepDecision:
    """The decision on a grid of runs of one recipe. Raises UserError with what is wrong with any of them, each problem once."""
    from launcher.plan.sweep import Member, clashes_of, make_sweep
    from launcher.show.sweep_screen import render_sweep

    launch = _whole(request, grid)
    name = _name_of(launch, request.environment)
    members = [Member(sweep=name, number=point.number, values=point.values) for point in grid.points]
    flags = {**request.flags, "name": None, "max_cost_usd": None}
    requests = [replace(request, flags=flags, sets=point.sets, member=member) for point, member in zip(grid.points, members, strict=True)]
    runs = _each(members, [lambda one=one: decide_recipe(one) for one in requests])  # type: ignore[misc]
    plans = [run.made for run in runs if run.made is not None]
    clashes = [*clashes_of(members, [run.job.config for run in runs]), *_one_place(plans)]
    made = make_sweep(members, plans, axes=grid.axes, max_cost_usd=launch.max_cost_usd, clashes=clashes)
    shared = [_with_share(run, plan) for run, plan in zip(runs, made.plans, strict=True)]
    made = replace(made, plans=tuple(run.made for run in shared if run.made is not None))
    return SweepDecision(
        name=name,
        runs=tuple(shared),
        screen=render_sweep(made),
        plan=made.to_json(),
        warnings=made.warnings,
        refusals=made.refusals,
        made=made,
    )


def _whole(request: Request, grid: Grid) -> LaunchConfig:
    """What the recipe and the flags say of the sweep as a whole; every run's recipe is checked on the way."""
    from launcher.cli.batch import without_auto
    from launcher.plan.sweep import Member

    members = [Member(sweep="run", number=point.number, values=point.values) for point in grid.points]
    checked = _each(members, [lambda sets=point.sets: load(request, without_auto(sets)[0]) for point in grid.points])  # type: ignore[misc]
    assert checked[0].config is not None
    return checked[0].config.launch


def _name_of(launch: LaunchConfig, environment: Mapping[str, str]) -> str:
    from launcher.state.names import random_name
    from launcher.state.runs import state_root

    name = launch.name or random_name()
    if (state_root(environment) / "runs" / name).is_dir():
        raise UserError(
            Problem(code="run-exists", place="--name", message=f"there is a run called '{name}'", fix="choose another --name for the sweep")
        )
    if not _NAME.fullmatch(name):
        raise UserError(
            Problem(
                code="out-of-range",
                path="launch.name",
                place="--name",
                message=f"'{name}' is too long for a sweep, whose runs are called {name}-1 and so on",
                fix="take at most 37 characters",
            )
        )
    return name


def _each(members: Sequence[Member], ask: Sequence[Callable[[], _Found]]) -> list[_Found]:
    """The answers for all runs. Raises UserError with the problems of every run that has none."""
    from launcher.plan.sweep import told_once

    answers: list[_Found] = []
    problems: list[tuple[Problem, ...]] = []
    codes: set[ExitCode] = set()
    for one in ask:
        try:
            answers.append(one())
            problems.append(())
        except UserError as error:
            problems.append(error.problems)
            codes.add(error.exit_code)
    if codes:
        raise UserError(
            told_once(list(zip(members, problems, strict=True))), exit_code=codes.pop() if len(codes) == 1 else ExitCode.INVALID
        )
    return answers


def _one_place(plans: Sequence[Plan]) -> list[Problem]:
    if len({plan.target.is_local for plan in plans}) == 1:
        return []
    return [
        Problem(
            code="conflict",
            path="launch.cloud",
            message="some runs of this sweep are for this machine and some for rented ones",
            fix="start two sweeps, each with its own --cloud",
        )
    ]


def _with_share(run: Decision, plan: Plan) -> Decision:
    """The decision under the plan's share of the budget."""
    from runtime.config.plain import dump_yaml

    launch = run.job.config.launch.model_copy(update={"max_cost_usd": plan.max_cost_usd})
    config = run.job.config.model_copy(update={"launch": launch})
    job = replace(run.job, config=config, offers=plan.offers if run.job.offers else ())
    return replace(run, job=job, made=replace(plan, config_yaml=dump_yaml(config)))
