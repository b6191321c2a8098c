"""What `up` is about to run from a plan that was made before: exactly that, at today's prices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.backend.job import Job, settled
from launcher.cli.decision import Decision, SweepDecision
from launcher.cli.request import Request
from launcher.cli.targets import check_local, is_here
from launcher.show.figures import dollars
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from launcher.plan.lock import Lock


def decide_locked(request: Request) -> Decision:
    """The decision on the plan of one run. Raises UserError for flags that a plan cannot take, and for a plan that is no longer true."""
    from launcher.plan.lock import read_lock

    _refuse_flags(request)
    lock = read_lock(request.file)
    decision = _decided(request, lock)
    return replace(decision, screen=f"{_made_when(request.file, lock)}; its config and files are as they were{_costs([lock])}")


def decide_locked_sweep(request: Request) -> SweepDecision:
    """The decision on the plan of a sweep."""
    from launcher.plan.lock import read_sweep_lock

    _refuse_flags(request)
    sweep = read_sweep_lock(request.file)
    runs = tuple(_decided(request, lock) for lock in sweep.runs)
    rows = [f"  {lock.run}  {lock.member.words if lock.member is not None else ''}" for lock in sweep.runs]
    return SweepDecision(
        name=sweep.name,
        runs=runs,
        screen="\n".join(
            [
                f"{_made_when(request.file, sweep.runs[0], what=f'sweep {sweep.name}')}; configs and files are as they were{_costs(sweep.runs)}",
                *rows,
            ]
        ),
        plan={**sweep.plan, "runs": [lock.plan | {"values": dict(run.job.values)} for lock, run in zip(sweep.runs, runs, strict=True)]},
        warnings=_once([warning for run in runs for warning in run.warnings]),
        refusals=_once([refusal for run in runs for refusal in run.refusals]),
    )


def _decided(request: Request, lock: Lock) -> Decision:
    from launcher.plan.azure_login import login_problems
    from launcher.plan.enabled import enabled_clouds, login_advice
    from launcher.plan.prices import about_age, price_file, read_prices
    from launcher.plan.repriced import repriced
    from launcher.plan.storage_keys import storage_keys
    from launcher.task.resources import offers_in
    from launcher.task.room import room_in

    assert lock.checked.config is not None
    launch = lock.checked.config.launch
    here = is_here(launch)
    warnings = check_local(launch, request.flags) if here else []
    refusals: list[Problem] = []
    offers = () if here else offers_in(lock.plan)
    if not here:
        prices, now = read_prices(price_file(request.environment)), time.time()
        enabled = enabled_clouds(request.environment)
        warnings += [*about_age(prices, now), *login_advice(prices, enabled, launch)]
        if enabled and offers and offers[0].cloud not in enabled and not launch.cloud:
            message = f"it was planned for {offers[0].cloud}, which is not enabled in SkyPilot here: the next of its offers is taken"
            warnings.append(Problem(code="no-cloud", place=str(request.file), message=message, fix=f"run `sky check {offers[0].cloud}`"))
        if (keys := storage_keys(launch.storage, request.environment)) is not None and (ending := keys.warning(now)) is not None:
            warnings.append(ending)
        doubtful, refusals = login_problems(launch, request.environment, offers)
        warnings += doubtful
        if prices is not None:
            offers, said, dearer = repriced(offers, prices, nodes=launch.nodes, max_cost_usd=launch.max_cost_usd, plan=request.file)
            warnings += said
            refusals += dearer
    job = Job(
        run=lock.run,
        recipe=str(lock.plan.get("recipe") or request.file),
        config=settled(lock.checked.config, run=lock.run, cwd=lock.folder),
        cwd=lock.folder,
        chaos=request.chaos,
        offers=offers,
        room=None if here else room_in(lock.plan),
        expected_gib=(lock.plan.get("memory") or {}).get("process_gib"),
        sweep=lock.member.sweep if lock.member is not None else None,
        values=dict(lock.member.values) if lock.member is not None else {},
    )
    said_before = (*lock.checked.warnings, *lock.warnings)
    return Decision(job=job, screen="", plan=lock.plan, warnings=_once([*said_before, *warnings]), refusals=tuple(refusals))


def _made_when(file: Path, lock: Lock, *, what: str = "") -> str:
    recipe = lock.plan.get("recipe") or file
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(lock.plan.get("created")))
    return f"{file}: {what or f'run {lock.run}'} of {recipe}, planned {when}"


def _costs(locks: Sequence[Lock]) -> str:
    """What the runs were expected to cost when they were planned; empty where nothing is rented, or no price was known."""
    told = [((lock.plan.get("cost") or {}).get("usd") or {}).get("value") for lock in locks]
    costs = [float(usd) for usd in told if usd is not None]
    if len(costs) < len(told) or not any(costs):
        return ""
    caps = [float(usd) for lock in locks if (usd := (lock.plan.get("budget") or {}).get("max_cost_usd")) is not None]
    cap = f", never above {dollars(sum(caps))}" if len(caps) == len(costs) else ""
    return f". Expected {dollars(sum(costs))}{cap}"


def _refuse_flags(request: Request) -> None:
    given = [
        f"--{name.removesuffix('_usd').replace('_', '-')}" for name, value in request.flags.items() if value is not None and name != "cloud"
    ]
    if given := [*given, *(["--set"] if request.sets else []), *(["--var"] if request.variables else [])]:
        raise UserError(
            Problem(
                code="usage",
                place=str(request.file),
                message=f"a plan runs as it was made; it takes no {', '.join(given)}",
                fix="plan the recipe again with them",
            )
        )


def _once(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(dict.fromkeys(problems))
