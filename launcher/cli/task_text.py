"""The SkyPilot task of a recipe, as `launcher render --task` prints it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.config.document import Document
    from runtime.config.schema import TrainingConfig


def task_of(config: TrainingConfig, *, recipe: str, document: Document | None = None, templates: Path | None = None) -> str:
    """The task as YAML that plain SkyPilot runs, with local files as file mounts. The wheel it installs on a bare machine is left in the launcher's state folder.

    Raises UserError when the recipe names no GPUs, no storage, or a folder of this machine as its storage.
    """
    from launcher.backend.job import settled
    from launcher.backend.sky.required_storage import check_storage
    from launcher.plan.enabled import enabled_clouds, within
    from launcher.plan.prices import price_file, read_prices
    from launcher.plan.target import target_of
    from launcher.recipe.template_folders import template_folders
    from launcher.state.names import random_name
    from launcher.state.runs import state_root
    from launcher.task.making import make_task
    from launcher.task.room import room_of
    from launcher.task.task import render_task
    from launcher.task.wheel import write_wheel

    launch = config.launch
    check_storage(launch.storage)
    run = launch.name or random_name()
    cwd = Path.cwd()
    config = settled(config, run=run, cwd=cwd)
    plan = None
    if (target := target_of(launch)) is not None and not target.is_local:
        import time

        from launcher.plan.lessons import lessons_from
        from launcher.plan.plan import make_plan
        from launcher.plan.seen import seen_below

        prices = read_prices(price_file(os.environ))
        plan = make_plan(
            config,
            recipe=Path(recipe),
            target=target,
            run_name=run,
            environment=os.environ,
            now=time.time(),
            prices=within(prices, enabled_clouds(os.environ), cloud=launch.cloud) if prices is not None else None,
            lessons=lessons_from(state_root(os.environ)),
            seen=seen_below(state_root(os.environ)),
            document=document,
            refuse=False,
        )
    made = make_task(
        config,
        run=run,
        recipe=recipe,
        cwd=cwd,
        environment=os.environ,
        offers=plan.offers if plan is not None else (),
        room=room_of(plan),
        expected_gib=plan.expected_gib if plan is not None else None,
        wheel=None if launch.image else write_wheel(state_root() / "wheel"),
    )
    return render_task(made.task, folders=template_folders(templates, environment=os.environ))
