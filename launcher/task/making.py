"""A task made of a decided run: its machines, files, settings and the names of its secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.task.inputs import Input, with_inputs
from launcher.task.resources import choices_of, preemption_h_of, prices_json, prices_of, ranked
from launcher.task.room import has_disks
from launcher.task.surroundings import secrets_for, settings_for
from launcher.task.task import Task, node_config

if TYPE_CHECKING:
    from launcher.plan.offer import Offer
    from launcher.task.room import Room
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A task, what its inputs are, the config it trains with, and the price of its dearest machine, USD an hour."""

    task: Task
    inputs: tuple[Input, ...]
    config: TrainingConfig
    usd_per_h: float | None


def make_task(
    config: TrainingConfig,
    *,
    run: str,
    recipe: str,
    cwd: Path,
    environment: Mapping[str, str],
    offers: Sequence[Offer] = (),
    room: Room | None = None,
    chaos: Sequence[str] = (),
    wheel: Path | None = None,
    expected_gib: float | None = None,
    mounts_inputs: bool = True,
) -> Made:
    """The task of a run of `config`. Local paths start from `cwd`; without `mounts_inputs` the inputs come from the run's storage instead.

    Raises UserError when the recipe names no GPUs.
    """
    from runtime.config.load import dump_yaml

    launch = config.launch
    choices = choices_of(launch, offers)
    listed = launch.prefer == "listed"
    best = () if listed else ranked(choices, offers)
    prices = prices_of(choices, offers)
    moved, inputs = with_inputs(config, cwd=cwd)
    there = node_config(moved, run=run)
    settings = settings_for(environment) | {"LAUNCHER_RUN": run, "LAUNCHER_RECIPE": recipe}
    if prices:
        settings["LAUNCHER_PRICES"] = prices_json(prices)
    if (hours := preemption_h_of(choices, offers)) is not None:
        settings["LAUNCHER_PREEMPTION_H"] = f"{hours:.3g}"
    if expected_gib is not None:
        settings["LAUNCHER_EXPECTED_GIB"] = f"{expected_gib:.4f}"
    if chaos:
        settings["LAUNCHER_CHAOS"] = ",".join(chaos)
    task = Task(
        run=run,
        config_text=dump_yaml(there),
        choices=best or choices,
        ordered=listed or bool(best),
        nodes=launch.nodes,
        disk_gb=room.disk_gb if room is not None and has_disks(launch) else None,
        memory_gib=room.memory_gib if room is not None else None,
        image=launch.image,
        ports=tuple(launch.ports),
        settings=settings,
        secrets=secrets_for(config, environment),
        inputs=inputs if mounts_inputs else (),
        wheel=None if launch.image else wheel,
    )
    return Made(task=task, inputs=inputs, config=there, usd_per_h=prices.get(""))
