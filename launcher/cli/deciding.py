"""What `up` is about to run: a recipe planned now, or a plan that was made and approved before."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.backend.job import Job, settled
from launcher.cli.targets import Flag, check_local, flag_overrides, gpus_to_use, is_here
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from launcher.plan.prices import PriceList
    from launcher.plan.target import Target
    from runtime.config.document import Document
    from runtime.config.load import Checked
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A job with the plan behind it: as a screen and as the data of `--json`. `refusals` are the plan's reasons not to run it."""

    job: Job
    screen: str
    plan: Mapping[str, Any]
    warnings: tuple[Problem, ...]
    refusals: tuple[Problem, ...]


def decide(
    file: Path,
    *,
    flags: Mapping[str, Flag],
    sets: Sequence[str],
    variables: Sequence[str],
    chaos: tuple[str, ...],
    environment: Mapping[str, str],
) -> Decision:
    """The decision on `file`. Raises UserError for a broken recipe or plan, for flags that a plan cannot take, and for runs that are not for this machine."""
    from launcher.plan.lock import is_lock

    if is_lock(file):
        given = [
            f"--{name.removesuffix('_usd').replace('_', '-')}" for name, value in flags.items() if value is not None and name != "cloud"
        ]
        if given := [*given, *(["--set"] if sets else []), *(["--var"] if variables else [])]:
            raise UserError(
                Problem(
                    code="usage",
                    place=str(file),
                    message=f"a plan runs as it was made; it takes no {', '.join(given)}",
                    fix="plan the recipe again with them",
                )
            )
        return _from_lock(file, flags=flags, chaos=chaos)
    return _from_recipe(file, flags=flags, sets=sets, variables=variables, chaos=chaos, environment=environment)


def _from_recipe(
    file: Path,
    *,
    flags: Mapping[str, Flag],
    sets: Sequence[str],
    variables: Sequence[str],
    chaos: tuple[str, ...],
    environment: Mapping[str, str],
) -> Decision:
    from launcher.cli.batch import without_auto
    from launcher.plan.target import local_target
    from launcher.state.names import random_name

    plain, automatic = without_auto(sets)
    checked = _load(file, [*plain, *flag_overrides(flags)], variables=variables, gpus=flags.get("gpus"))
    assert checked.config is not None
    launch = checked.config.launch
    if not is_here(launch):
        return _rented(file, checked, automatic=automatic, chaos=chaos, environment=environment)
    said = [*checked.warnings, *check_local(launch, flags)]
    target = local_target(processes=launch.processes)
    count, warnings = gpus_to_use(launch, flags, here=target.hardware.gpus)
    if count is not None and launch.processes is None:
        launch = launch.model_copy(update={"processes": count})
        target = local_target(processes=count)
    run = launch.name or random_name()
    config = settled(checked.config.model_copy(update={"launch": launch}), run=run, cwd=Path.cwd())
    return _planned(
        file,
        config,
        target,
        document=checked.document,
        automatic=automatic,
        chaos=chaos,
        environment=environment,
        now=time.time(),
        warnings=[*said, *warnings],
    )


def _rented(file: Path, checked: Checked, *, automatic: bool, chaos: tuple[str, ...], environment: Mapping[str, str]) -> Decision:
    from launcher.plan.prices import about_age, price_file, read_prices
    from launcher.plan.target import target_of
    from launcher.state.names import random_name

    assert checked.config is not None
    target = target_of(checked.config.launch)
    assert target is not None
    prices, now = read_prices(price_file(environment)), time.time()
    said = [*checked.warnings, *about_age(prices, now)]
    run = checked.config.launch.name or random_name()
    config = settled(checked.config, run=run, cwd=Path.cwd())
    return _planned(
        file,
        config,
        target,
        document=checked.document,
        automatic=automatic,
        chaos=chaos,
        environment=environment,
        now=now,
        warnings=said,
        prices=prices,
    )


def _planned(
    file: Path,
    config: TrainingConfig,
    target: Target,
    *,
    document: Document | None,
    automatic: bool,
    chaos: tuple[str, ...],
    environment: Mapping[str, str],
    now: float,
    warnings: Sequence[Problem],
    prices: PriceList | None = None,
) -> Decision:
    """The plan of a settled config on its target, and the job that it makes."""
    from launcher.cli.batch import find_batch
    from launcher.plan.lessons import lessons_from
    from launcher.plan.plan import make_plan
    from launcher.show.plan_screen import render_plan
    from launcher.state.runs import state_root
    from launcher.task.resources import disk_gb

    run, said = config.launch.name, list(warnings)
    assert run is not None
    if automatic:
        config, note = find_batch(config, target.hardware, environment=environment)
        said.append(note)
    plan = make_plan(
        config,
        recipe=file,
        target=target,
        run_name=run,
        environment=environment,
        now=now,
        warnings=said,
        prices=prices,
        lessons=lessons_from(state_root(environment)),
        document=document,
        refuse=False,
    )
    job = Job(
        run=run,
        recipe=str(file),
        config=config,
        cwd=Path.cwd(),
        chaos=chaos,
        expected_gib=plan.expected_gib,
        offers=() if target.is_local else plan.offers,
        disk_gb=None if target.is_local else disk_gb(plan),
    )
    return Decision(job=job, screen=render_plan(plan), plan=plan.to_json(), warnings=plan.warnings, refusals=plan.refusals)


def _from_lock(file: Path, *, flags: Mapping[str, Flag], chaos: tuple[str, ...]) -> Decision:
    from launcher.plan.lock import read_lock
    from launcher.task.resources import disk_gb_in, offers_in

    lock = read_lock(file)
    assert lock.checked.config is not None
    here = is_here(lock.checked.config.launch)
    warnings = check_local(lock.checked.config.launch, flags) if here else []
    config = settled(lock.checked.config, run=lock.run, cwd=lock.folder)
    recipe = str(lock.plan.get("recipe") or file)
    screen = f"{file}: run {lock.run} of {recipe}, planned {time.strftime('%Y-%m-%d %H:%M', time.localtime(lock.plan.get('created')))}; its config and data are as they were"
    offers = () if here else offers_in(lock.plan)
    memory = lock.plan.get("memory") or {}
    job = Job(
        run=lock.run,
        recipe=recipe,
        config=config,
        cwd=lock.folder,
        chaos=chaos,
        offers=offers,
        disk_gb=None if here else disk_gb_in(lock.plan),
        expected_gib=memory.get("process_gib"),
    )
    return Decision(job=job, screen=screen, plan=lock.plan, warnings=(*lock.checked.warnings, *warnings), refusals=())


def _load(file: Path, sets: list[str], *, variables: Sequence[str], gpus: Flag) -> Checked:
    from launcher.estimate.target_facts import template_target
    from launcher.recipe.load import load_recipe
    from launcher.recipe.template import read_variables

    checked = load_recipe(
        file, sets=sets, variables=read_variables(list(variables)), target=template_target(gpus if isinstance(gpus, str) else None)
    ).checked
    if checked.errors:
        raise UserError(checked.errors)
    return checked
