"""What `up` is about to run: a recipe planned now, or a plan that was made and approved before."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.backend.job import Job, settled
from launcher.cli.decision import Decision
from launcher.cli.request import Request
from launcher.cli.targets import check_local, first_kind, flag_overrides, gpus_to_use, is_here
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from launcher.plan.plan import Plan
    from launcher.plan.prices import PriceList
    from launcher.plan.target import Target
    from runtime.config.load import Checked
    from runtime.config.schema import TrainingConfig


def decide(request: Request) -> Decision:
    """The decision on a recipe or a plan. Raises UserError for a broken one, for flags that a plan cannot take, and for runs that are not for this machine."""
    from launcher.plan.lock import is_lock

    if is_lock(request.file):
        from launcher.cli.locked import decide_locked

        return decide_locked(request)
    return decide_recipe(request)


def decide_recipe(request: Request) -> Decision:
    """The decision on a recipe."""
    from launcher.cli.batch import without_auto
    from launcher.plan.target import local_target, target_of
    from launcher.state.names import random_name

    plain, automatic = without_auto(request.sets)
    checked = load(request, plain)
    assert checked.config is not None
    config = request.member.applied(checked.config) if request.member is not None else checked.config
    launch, said, prices, now = config.launch, list(checked.warnings), None, time.time()
    if is_here(launch):
        said += check_local(launch, request.flags)
        target = local_target(processes=launch.processes)
        count, warnings = gpus_to_use(launch, request.flags, here=target.hardware.gpus)
        said += warnings
        if count is not None and launch.processes is None:
            launch = launch.model_copy(update={"processes": count})
            target = local_target(processes=count)
    else:
        from launcher.plan.enabled import enabled_clouds, login_advice, within
        from launcher.plan.prices import about_age, price_file, read_prices

        rented = target_of(launch)
        assert rented is not None
        target, prices, enabled = rented, read_prices(price_file(request.environment)), enabled_clouds(request.environment)
        said += [*about_age(prices, now), *login_advice(prices, enabled, launch)]
        prices = within(prices, enabled, cloud=launch.cloud) if prices is not None else None
    run = launch.name or random_name()
    config = settled(config.model_copy(update={"launch": launch}), run=run, cwd=Path.cwd())
    return _planned(request, checked, config, target, automatic=automatic, now=now, warnings=said, prices=prices)


def load(request: Request, sets: list[str]) -> Checked:
    """The checked recipe with `sets` and the request's flags laid over it. Raises UserError for every error in it."""
    from launcher.estimate.target_facts import template_target
    from launcher.recipe.load import load_recipe
    from launcher.recipe.template import read_variables

    checked = load_recipe(
        request.file,
        sets=[*sets, *flag_overrides(request.flags)],
        variables=read_variables(list(request.variables)),
        target=template_target(first_kind(request.flags.get("gpus"))),
        templates=request.templates,
    ).checked
    if checked.errors:
        raise UserError(checked.errors)
    return checked


def _planned(
    request: Request,
    checked: Checked,
    config: TrainingConfig,
    target: Target,
    *,
    automatic: bool,
    now: float,
    warnings: list[Problem],
    prices: PriceList | None,
) -> Decision:
    """The plan of a settled config on its target, and the job that it makes."""
    from launcher.cli.batch import find_batch
    from launcher.plan.lessons import lessons_from
    from launcher.plan.plan import make_plan
    from launcher.plan.seen import seen_below
    from launcher.show.plan_screen import render_plan
    from launcher.state.runs import state_root

    run, pins = config.launch.name, None
    assert run is not None
    if automatic:
        config, note = find_batch(config, target.hardware, environment=request.environment, model_config=request.model_config)
        warnings.append(note)
    if request.pinning is not None:
        config, pins, doubts = request.pinning.pinned(config, recipe=request.file)
        warnings += doubts
    plan = make_plan(
        config,
        recipe=request.file,
        target=target,
        run_name=run,
        environment=request.environment,
        now=now,
        warnings=warnings,
        model_config=request.model_config,
        prices=prices,
        lessons=lessons_from(state_root(request.environment)),
        seen=seen_below(state_root(request.environment)),
        document=checked.document,
        refuse=False,
    )
    return Decision(
        job=job_of(request, plan, config),
        screen=render_plan(plan),
        plan=plan.to_json(),
        warnings=plan.warnings,
        refusals=plan.refusals,
        made=plan,
        pins=pins,
    )


def job_of(request: Request, plan: Plan, config: TrainingConfig) -> Job:
    """The job of a recipe that was planned just now."""
    from launcher.task.room import room_of

    return Job(
        run=plan.run,
        recipe=str(request.file),
        config=config,
        cwd=Path.cwd(),
        chaos=request.chaos,
        expected_gib=plan.expected_gib,
        offers=() if plan.target.is_local else plan.offers,
        room=None if plan.target.is_local else room_of(plan),
        sweep=request.member.sweep if request.member is not None else None,
        values=dict(request.member.values) if request.member is not None else {},
    )
