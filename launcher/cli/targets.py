"""Where a run shall go: the flags of `up` as recipe options, and what they mean on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from launcher.task.scalars import scalar
from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from launcher.estimate.gpus import GpuCount
    from runtime.config.launch import LaunchConfig

Flag = str | int | float | bool | None

_FLAG_NAMES = {"max_cost_usd": "--max-cost", "spot": "--spot"}


def flag_overrides(flags: Mapping[str, Flag]) -> list[str]:
    """The flags that were given as `launch.key=value` overrides, which win over the recipe."""
    # Quoted, so that `--name 007` stays a text.
    return [f"launch.{key}={scalar(_any_of(key, value))}" for key, value in flags.items() if value is not None]


def first_kind(gpus: Flag) -> str | None:
    """The first of the kinds that `--gpus A100:8,H100:8` allows, which a template is rendered for."""
    return gpus.partition(",")[0] if isinstance(gpus, str) else None


def _any_of(key: str, value: Flag) -> Flag | list[str]:
    several = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) and key in ("gpus", "region") else []
    return several if len(several) > 1 else value


def check_local(launch: LaunchConfig, flags: Mapping[str, Flag]) -> list[Problem]:
    """Warnings about options of the recipe that mean nothing on this machine. Raises UserError when a flag asks for something that this machine cannot
    be: a flag is meant now, a recipe may be written for elsewhere."""
    meant = {
        "nodes": launch.nodes > 1,
        "region": bool(launch.regions),
        "spot": bool(launch.spot),
        "image": launch.image is not None,
        "ports": bool(launch.ports),
    }
    problems = {key: _without_effect(key) for key, given in meant.items() if given}
    refused = [problem for key, problem in problems.items() if flags.get(key) is not None or key == "nodes"]
    if refused:
        raise UserError(refused)
    return list(problems.values())


def is_here(launch: LaunchConfig) -> bool:
    """Whether the run is for this machine. Raises UserError when the recipe does not say where, or says two things."""
    if launch.backend == "sky" and launch.cloud == "local":
        raise UserError(
            Problem(
                code="conflict",
                path="launch.backend",
                message="launch.backend: sky rents machines, and launch.cloud: local is this one",
                fix="remove one of them",
            )
        )
    if launch.backend == "local" and launch.cloud not in (None, "local"):
        raise UserError(
            Problem(
                code="conflict",
                path="launch.backend",
                message=f"launch.backend: local is this machine, and launch.cloud: {launch.cloud} is not",
                fix="remove one of them",
            )
        )
    if launch.cloud == "local" or launch.backend == "local":
        return True
    if launch.gpus is None:
        raise UserError(
            Problem(
                code="missing",
                path="launch.gpus",
                message="the run needs a place: this machine, or a kind of GPU to rent",
                fix="add --cloud local for this machine, or --gpus A100-80GB:1; `launcher estimate` shows which fit",
            )
        )
    return False


def gpus_to_use(launch: LaunchConfig, flags: Mapping[str, Flag], *, here: GpuCount | None) -> tuple[int | None, list[Problem]]:
    """How many of this machine's GPUs the run asks for, None when it does not say; with a warning when the recipe asks for some that are not here, which
    then are not used. Raises UserError (exit 3) when a flag asks for them."""
    from launcher.estimate.gpus import parse_gpus

    wanted = [parse_gpus(name) for name in launch.kinds]
    for want in wanted:
        if here is not None and here.gpu.name == want.gpu.name and here.count >= want.count:
            return want.count, []
    if not wanted:
        return None, []
    problem = Problem(
        code="no-gpu",
        path="launch.gpus",
        message=f"this machine has {here if here is not None else 'no GPU'}, not {' or '.join(map(str, wanted))}",
        fix="leave out --gpus to train on what this machine has",
    )
    if flags.get("gpus") is not None:
        raise UserError(problem, exit_code=ExitCode.REFUSED)
    return None, [problem]


def _without_effect(key: str) -> Problem:
    flag = _FLAG_NAMES.get(key, f"--{key}")
    why = {
        "nodes": "this machine is one node",
        "region": "this machine is in no region",
        "spot": "this machine is not interruptible",
        "image": "on this machine the runtime runs without a container",
        "ports": "on this machine nothing has to be opened",
    }[key]
    return Problem(
        code="conflict",
        path=f"launch.{key}",
        message=f"launch.{key} has no effect with --cloud local: {why}",
        fix=f"take launch.{key} out of the recipe" if key == "ports" else f"leave out {flag}, or take launch.{key} out of the recipe",
    )
