"""The machines a task may take, as SkyPilot writes them, and what an hour of each costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.estimate.gpus import GpuCount, parse_gpus
from launcher.estimate.range import Range
from launcher.plan.offer import Offer, SpotRisk
from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from runtime.config.launch import LaunchConfig

# A place that is full costs SkyPilot some seconds to find out.
_MOST_PLACES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One kind of machine that will do. `infra` is SkyPilot's `cloud/region`, empty for anywhere."""

    gpus: str
    infra: str
    spot: bool


def choices_of(launch: LaunchConfig, offers: Sequence[Offer] = ()) -> tuple[Choice, ...]:
    """Every machine the recipe allows: each kind of GPU, interruptible and on demand where the recipe leaves that open and the best offer is interruptible,
    in each region it names.

    SkyPilot takes the one with the lowest price an hour that is to be had, so on demand comes into play when there is no interruptible one; with
    `prefer: listed` it tries them in this order. Raises UserError when the recipe names no GPUs.
    """
    if not launch.kinds:
        raise UserError(
            Problem(
                code="missing",
                path="launch.gpus",
                message="a rented machine needs a kind of GPU",
                fix="add --gpus A100-80GB:1; `launcher estimate` without --gpus shows which fit",
            )
        )
    either = launch.prefer == "listed" or (offers and offers[0].spot)
    spots = [launch.spot] if launch.spot is not None else [True, False] if either else [False]
    places = [_infra(launch.cloud, name) for name in launch.regions] or [launch.cloud or ""]
    kinds = [parse_gpus(name) for name in launch.kinds]
    return tuple(
        Choice(gpus=f"{name}:{kind.count}", infra=infra, spot=spot)
        for kind in kinds
        for spot in spots
        for name in _names(kind, offers)
        for infra in places
    )


def ranked(choices: Sequence[Choice], offers: Sequence[Offer]) -> tuple[Choice, ...]:
    """The choices behind the places of the best offers, to be tried in this order; none where SkyPilot by itself takes the best offer first.

    SkyPilot compares prices an hour. What a run is expected to cost is another thing: a dearer machine is done sooner, or taken away less often.
    """
    kinds = {(str(parse_gpus(choice.gpus)), choice.spot): choice.gpus for choice in choices}
    places = [
        (Choice(gpus=_asked_for(offer, kinds[kind, offer.spot]), infra=f"{offer.cloud}/{offer.region}", spot=offer.spot), offer.usd_per_h)
        for offer in offers
        if offer.verdict == "ok" and ((kind := _kind(offer)), offer.spot) in kinds
    ]
    if not places or places[0][1] <= min(usd for _, usd in places):
        return ()
    return tuple(dict.fromkeys([*[choice for choice, _ in places][:_MOST_PLACES], *choices]))


def _names(kind: GpuCount, offers: Sequence[Offer]) -> tuple[str, ...]:
    """What the GPU is called where it is sold: one cloud's H100 is another's H100-SXM."""
    return tuple(dict.fromkeys(offer.accelerator for offer in offers if offer.accelerator and _kind(offer) == str(kind))) or (
        kind.gpu.name,
    )


def _asked_for(offer: Offer, gpus: str) -> str:
    return f"{offer.accelerator}:{gpus.partition(':')[2]}" if offer.accelerator else gpus


def _kind(offer: Offer) -> str:
    """The GPUs of one machine, `8×A100`."""
    return offer.gpus.rpartition(" ")[2]


def _infra(cloud: str | None, region: str) -> str:
    """SkyPilot's `cloud/region`; a region may bring its cloud along where the recipe names none."""
    if cloud is None:
        return region if "/" in region else f"*/{region}"
    return region if region.startswith(f"{cloud}/") else f"{cloud}/{region}"


def prices_of(choices: Sequence[Choice], offers: Sequence[Offer]) -> dict[str, float]:
    """USD an hour by `cloud/region`, by `cloud` and by `` (anywhere): the dearest machine of the choices there, all nodes together.

    The dearest, since the machine itself cannot tell which of several offers it is, and a cap on money must hold for each.
    """
    allowed = {(str(parse_gpus(choice.gpus)), choice.spot) for choice in choices}
    found: dict[str, float] = {}
    for offer in offers:
        if (_kind(offer), offer.spot) in allowed:
            for place in (f"{offer.cloud}/{offer.region}", offer.cloud, ""):
                found[place] = max(found.get(place, 0.0), offer.usd_per_h)
    return found


def offers_in(plan: Mapping[str, Any]) -> tuple[Offer, ...]:
    """The offers of a plan that was written down, as far as a task needs them."""
    return tuple(
        Offer(
            cloud=str(row["cloud"]),
            region=str(row["region"]),
            instance=str(row["instance"]),
            gpus=str(row["gpus"]),
            usd_per_h=float(row["usd_per_h"]),
            spot=bool(row["spot"]),
            expected_usd=Range(**row["usd_range"]) if row.get("usd_range") else None,
            expected_h=None,
            verdict=row["verdict"],
            risk=_risk_in(row.get("risk")),
            accelerator=str(row.get("accelerator") or ""),
        )
        for row in plan.get("offers") or ()
    )


def _risk_in(raw: Mapping[str, Any] | None) -> SpotRisk | None:
    if not raw or not raw.get("hours_between_preemptions"):
        return None
    hours = Range(**raw["hours_between_preemptions"])
    return SpotRisk(hours_between=hours, preemptions=None, save_interval_h=None, loses=bool(raw.get("loses")))


def prices_json(prices: dict[str, float]) -> str:
    """The prices as the machine gets them."""
    return json.dumps({place: round(usd, 6) for place, usd in sorted(prices.items())})


def preemption_h_of(choices: Sequence[Choice], offers: Sequence[Offer]) -> float | None:
    """Mean hours between two preemptions, which decide how often the machine saves: of the riskiest offer among the choices; None when none is interruptible."""
    if not any(choice.spot for choice in choices):
        return None
    allowed = {str(parse_gpus(choice.gpus)) for choice in choices if choice.spot}
    risks = [offer.risk for offer in offers if offer.spot and offer.risk is not None and _kind(offer) in allowed]
    return min((risk.hours_between.value for risk in risks), default=None)
