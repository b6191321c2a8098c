"""`launcher estimate` without `--gpus`: every kind and number of GPUs that hold a recipe, the cheapest first where prices are known."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from launcher.cli.output import emit_json, note_problems, say
from runtime.config.problem import ExitCode, Problem

if TYPE_CHECKING:
    from launcher.estimate.estimate import Estimate
    from launcher.estimate.model_source import ModelSource
    from launcher.estimate.rows import DataSize
    from launcher.plan.prices import PriceList
    from runtime.config.schema import TrainingConfig


def show_fits(
    config: TrainingConfig,
    model: ModelSource,
    data: DataSize,
    *,
    prices: PriceList | None,
    warnings: list[Problem],
    as_json: bool,
) -> int:
    """Print the choices and return the exit code: 3 when nothing holds the recipe."""
    from launcher.estimate.fitting import fits
    from launcher.estimate.gpus import GpuCount
    from launcher.plan.environment import machine_of, target_problems
    from launcher.plan.lessons import lessons_from
    from launcher.plan.offer import Offer
    from launcher.plan.rented import rented_offers
    from launcher.plan.seen import seen_below
    from launcher.plan.target import rented_target
    from launcher.show.fit_table import choice, render_fits
    from launcher.state.runs import state_root

    def unable(made: Estimate) -> str:
        errors, _, _ = target_problems(config, [machine_of(made.hardware, model.facts)])
        return "; ".join(problem.message for problem in errors)

    lessons = lessons_from(state_root(os.environ))
    rows = fits(config, model, data, unable=unable, lessons=lessons)
    smallest = next((row for row in rows if row.count is not None), rows[-1])
    offers: list[Offer] = []
    best: dict[str, Offer] = {}
    if prices is not None:
        kinds = tuple(GpuCount(gpu=row.gpu, count=row.count) for row in rows if row.count is not None)
        target = rented_target(config.launch, kinds, smallest.estimate.hardware)
        offers = rented_offers(config, smallest.estimate, target, prices, lessons, seen_below(state_root(os.environ)))
        for offer in offers:
            best.setdefault(offer.gpus, offer)
        order = {name: number for number, name in enumerate(best)}
        rows.sort(key=lambda row: (row.count is None, order.get(choice(row), len(order))))
        smallest = next((row for row in rows if row.count is not None), rows[-1])
    if as_json:
        body = smallest.estimate.to_json() | {
            "offers": [offer.to_json() for offer in offers],
            "prices": prices.to_json(time.time()) if prices is not None else None,
            "fits": [row.to_json() | {"offer": best[choice(row)].to_json() if choice(row) in best else None} for row in rows],
        }
        emit_json("estimate", body, warnings=warnings)
    else:
        note_problems(warnings, kind="warning")
        say(render_fits(smallest.estimate, rows, offers=best or None, width=_width()))
    return ExitCode.OK if smallest.count is not None else ExitCode.REFUSED


def _width() -> int | None:
    # A table cut off in a log helps nobody: without a terminal it takes the room it needs.
    return None if os.isatty(1) else 160
