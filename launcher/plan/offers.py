"""Every machine a run could rent, with what the run is expected to cost there, the cheapest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from launcher.estimate.estimate import Estimate
from launcher.estimate.gpus import GpuCount, find_gpu
from launcher.estimate.preemption import Seen, hours_between_preemptions
from launcher.estimate.range import Range
from launcher.estimate.saves import Saves
from launcher.estimate.spot import Interruptions, on_spot, spot_wins
from launcher.estimate.transfer import egress_usd, storage_usd
from launcher.plan.abilities import abilities_of
from launcher.plan.offer import Offer, OfferVerdict, SpotRisk
from launcher.plan.prices import Price, PriceList
from launcher.plan.quota import quota_of
from launcher.plan.seen import SeenBy, nothing_seen

# Hours without a machine after a preemption: minutes where any of several zones may give one (spot-traces: one of nine zones was up 99 % of the time).
WAIT_H = 0.1

Priced = Callable[[GpuCount], Estimate]
"""The estimate of the run on GPUs of a kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the user asked for. `gpus` are the kinds and counts that will do; `spot` None means both; empty `clouds` and `regions` mean any; `image` says
    that the run brings a container image of its own, `ports` that it wants some opened.

    `preemption_h` are the hours between preemptions that the user reckons with, None for the prior's.
    """

    gpus: tuple[GpuCount, ...]
    nodes: int = 1
    image: bool = False
    ports: bool = False
    spot: bool | None = None
    clouds: frozenset[str] = frozenset()
    regions: tuple[str, ...] = ()
    prefer: Literal["cheapest", "listed"] = "cheapest"
    max_cost_usd: float | None = None
    storage: str | None = None
    preemption_h: float | None = None


def offers_for(wish: Wish, prices: PriceList, priced: Priced, *, seen: SeenBy = nothing_seen) -> list[Offer]:
    """The offers that meet a wish, runnable ones first, each group by expected cost (by hourly price where the length of the run is unknown), or as the
    wish lists them.

    `seen` tells what own runs met on a cloud's machines of so many GPUs.
    """
    wanted = {(want.gpu.name, want.count): want for want in wish.gpus}
    offers: list[Offer] = []
    known: dict[tuple[str, int], Estimate] = {}
    for price in prices.prices:
        gpu = find_gpu(price.gpu)
        want = wanted.get((gpu.name, price.count)) if gpu is not None else None
        if want is None or not all(met(price, wish).values()):
            continue
        key = (want.gpu.name, want.count)
        if key not in known:
            known[key] = priced(want)
        estimate = known[key]
        if price.usd_per_h is not None and wish.spot is not True:
            offers.append(_on_demand(price, want, estimate, wish))
        if price.spot_usd_per_h is not None and wish.spot is not False:
            offers.append(_spot(price, want, estimate, wish, seen(price.cloud, price.count)))
    offers.sort(key=_order)
    return sorted(offers, key=lambda offer: _listed(offer, wish)) if wish.prefer == "listed" else offers


def cheapest_per_place(offers: Iterable[Offer], *, most: int) -> list[Offer]:
    """The first `most` offers, one for each cloud, kind of GPU and way of paying: the other regions of the same thing add nothing to a screen."""
    shown: dict[tuple[str, str, bool], Offer] = {}
    for offer in offers:
        shown.setdefault((offer.cloud, offer.gpus, offer.spot), offer)
    return list(shown.values())[:most]


def _order(offer: Offer) -> tuple[bool, float, float, str, str]:
    cost = offer.expected_usd.value if offer.expected_usd is not None else offer.usd_per_h
    return (offer.verdict != "ok", cost, offer.usd_per_h, offer.cloud, offer.region)


def _listed(offer: Offer, wish: Wish) -> tuple[bool, int, bool, int]:
    """The order SkyPilot tries a list in: kinds as they are written, interruptible before on demand, then regions as they are written."""
    kind = next((at for at, kind in enumerate(wish.gpus) if offer.gpus.endswith(str(kind))), len(wish.gpus))
    region = next((at for at, name in enumerate(wish.regions) if name in (offer.region, f"{offer.cloud}/{offer.region}")), 0)
    return (offer.verdict != "ok", kind, not offer.spot, region)


def met(price: Price, wish: Wish) -> dict[str, bool]:
    """Which parts of the wish, besides its GPUs, a machine meets: `cloud`, `region`, `ability` of its cloud, and `spot`, the way of paying."""
    able = abilities_of(price.cloud)
    return {
        "cloud": not wish.clouds or price.cloud in wish.clouds,
        "region": not wish.regions or price.region in wish.regions or f"{price.cloud}/{price.region}" in wish.regions,
        # Every task asks to be given back when nothing runs.
        "ability": able.gives_back
        and (able.several_machines or wish.nodes == 1)
        and (able.container_images or not wish.image)
        and (able.opens_ports or not wish.ports),
        "spot": (wish.spot is not True and price.usd_per_h is not None) or (wish.spot is not False and price.spot_usd_per_h is not None),
    }


def _on_demand(price: Price, want: GpuCount, estimate: Estimate, wish: Wish) -> Offer:
    assert price.usd_per_h is not None
    hours = estimate.time.hours if estimate.time is not None else None
    return _offer(price, want, estimate, estimate.saves, wish, usd_per_h=price.usd_per_h, billed=hours, wall=hours)


def _spot(price: Price, want: GpuCount, estimate: Estimate, wish: Wish, seen: Seen | None) -> Offer:
    assert price.spot_usd_per_h is not None
    mtbp = hours_between_preemptions(price.cloud, price.count, nodes=wish.nodes, seen=seen, told_h=wish.preemption_h)
    saves = estimate.saves.at_risk(mtbp.value)
    billed = wall = None
    risk = SpotRisk(hours_between=mtbp, preemptions=None, save_interval_h=None, loses=False)
    if estimate.time is not None:
        work = estimate.time.training_h.value
        run = on_spot(
            work,
            Interruptions(mtbp_h=mtbp, restart_h=estimate.time.setup_h.value, wait_h=WAIT_H),
            save_h=saves.save_h if saves.every_h is not None else 0.0,
            interval_h=work if saves.every_h is None else saves.every_h,
        )
        # The length of the run itself is uncertain too: its spread widens that of the interruptions.
        shrink, stretch = estimate.time.hours.low / estimate.time.hours.value, estimate.time.hours.high / estimate.time.hours.value
        billed = Range(
            value=run.billed_h.value,
            low=min(run.billed_h.value, run.billed_h.low * shrink),
            high=max(run.billed_h.value, run.billed_h.high * stretch),
            basis=run.billed_h.basis,
        )
        wall = Range(value=run.wall_h.value, low=billed.low, high=max(run.wall_h.value, run.wall_h.high * stretch), basis=run.wall_h.basis)
        loses = price.usd_per_h is not None and not spot_wins(
            run.billed_h.value, estimate.time.hours.value, spot_usd_per_h=price.spot_usd_per_h, usd_per_h=price.usd_per_h
        )
        risk = SpotRisk(hours_between=mtbp, preemptions=run.preemptions, save_interval_h=run.interval_h, loses=loses)
    return _offer(price, want, estimate, saves, wish, usd_per_h=price.spot_usd_per_h, billed=billed, wall=wall, risk=risk)


def _offer(
    price: Price,
    want: GpuCount,
    estimate: Estimate,
    saves: Saves,
    wish: Wish,
    *,
    usd_per_h: float,
    billed: Range | None,
    wall: Range | None,
    risk: SpotRisk | None = None,
) -> Offer:
    hourly = usd_per_h * wish.nodes
    usd = None
    extra = 0.0
    if billed is not None and wall is not None:
        extra = egress_usd(price.cloud, wish.storage, saves.sent_gb) + storage_usd(wish.storage, saves.disk_gb, wall.value)
        usd = Range(
            value=billed.value * hourly + extra, low=billed.low * hourly + extra, high=billed.high * hourly + extra, basis=billed.basis
        )
    verdict: OfferVerdict = "ok"
    if estimate.memory.verdict == "does-not-fit":
        verdict = "does-not-fit"
    elif usd is not None and wish.max_cost_usd is not None and usd.value > wish.max_cost_usd:
        verdict = "over-budget"
    return Offer(
        cloud=price.cloud,
        region=price.region,
        instance=price.instance,
        gpus=str(want) if wish.nodes == 1 else f"{wish.nodes} × {want}",
        usd_per_h=hourly,
        spot=risk is not None,
        expected_usd=usd,
        expected_h=wall,
        verdict=verdict,
        risk=risk,
        quota=quota_of(price.cloud, price.instance, want.gpu.name, spot=risk is not None),
        transfer_usd=extra,
        accelerator=price.gpu,
    )
