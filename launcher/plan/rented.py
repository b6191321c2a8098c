"""The machines a run could rent, and the estimate on the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.estimate.calibration import Lesson, calibrated
from launcher.estimate.estimate import Estimate, estimate
from launcher.estimate.gpus import GpuCount
from launcher.estimate.hardware import cards
from launcher.plan.offer import Offer
from launcher.plan.offers import Wish, offers_for
from launcher.plan.prices import PriceList
from launcher.plan.seen import SeenBy, nothing_seen
from launcher.plan.target import Target

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


def rented_offers(
    config: TrainingConfig, made: Estimate, target: Target, prices: PriceList, lessons: Sequence[Lesson] = (), seen: SeenBy = nothing_seen
) -> list[Offer]:
    """The offers for a run estimated as `made` on any of the target's kinds of GPUs."""

    def priced(kind: GpuCount) -> Estimate:
        return _on(config, made, kind, target, lessons)

    return offers_for(wish_of(config, target), prices, priced, seen=seen)


def wish_of(config: TrainingConfig, target: Target) -> Wish:
    """What the recipe asks of a machine on that target."""
    launch = config.launch
    return Wish(
        gpus=target.kinds,
        nodes=target.hardware.nodes,
        image=launch.image is not None,
        ports=bool(launch.ports),
        spot=target.spot,
        clouds=frozenset({target.cloud}) if target.cloud else frozenset(),
        regions=target.regions,
        prefer=target.prefer,
        max_cost_usd=launch.max_cost_usd,
        storage=launch.storage,
        preemption_h=launch.preemption_h,
    )


def chosen(config: TrainingConfig, made: Estimate, target: Target, offers: Sequence[Offer], lessons: Sequence[Lesson]) -> Estimate:
    """The estimate on the GPUs of the best offer, with its cost and its saves; as it was where there is none."""
    if not offers:
        return made
    best = offers[0]
    kind = next((kind for kind in target.kinds if best.gpus.endswith(str(kind))), target.kinds[0])
    there = _on(config, made, kind, target, lessons)
    saves = there.saves.at_risk(best.risk.hours_between.value) if best.risk is not None else there.saves
    return replace(there, saves=saves, cost=best.expected_usd)


def _on(config: TrainingConfig, made: Estimate, kind: GpuCount, target: Target, lessons: Sequence[Lesson]) -> Estimate:
    hardware = cards(kind, nodes=target.hardware.nodes)
    return made if hardware == made.hardware else calibrated(estimate(config, made.model, hardware, made.data), lessons)
