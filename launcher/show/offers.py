"""Offers as a table: where, what, how risky, and what the run is expected to cost there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.plan.offer import Offer
from launcher.plan.prices import Price, PriceList
from launcher.show.figures import dollars, duration
from launcher.show.screen import rendered, screen_width

if TYPE_CHECKING:
    from rich.table import Table

TABLE_WIDTH = 90
"""Columns from which the offers are a table."""


def offers_table(offers: Sequence[Offer], *, max_cost: float | None = None) -> Table:
    """The offers with the first one marked; what is above `max_cost` dollars has a `!`."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("  #", "WHERE", "INSTANCE", "GPU", "$/H", "SPOT RISK", "EXPECTED", "WORST 90 %", "VERDICT"):
        folds = name in ("WHERE", "INSTANCE")
        table.add_column(name, justify="right" if name == "$/H" else "left", no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for number, offer in enumerate(offers, 1):
        expected = worst = "unknown"
        if offer.expected_h is not None and offer.expected_usd is not None:
            expected = f"{_capped(offer.expected_usd.value, max_cost)}  {duration(offer.expected_h.value)}"
            worst = f"{_capped(offer.expected_usd.high, max_cost)}  {duration(offer.expected_h.high)}"
        table.add_row(
            f"{'▸' if number == 1 else ' '} {number}",
            place(offer),
            offer.instance,
            offer.gpus,
            f"{offer.usd_per_h:.2f}",
            risk(offer),
            expected,
            worst,
            offer.verdict,
        )
    return table


def offer_line(offer: Offer) -> str:
    """The offer in a line, for screens too narrow for the table."""
    hours = f" · {duration(offer.expected_h.value)}" if offer.expected_h is not None else ""
    total = f" · {dollars(offer.expected_usd.value)}" if offer.expected_usd is not None and offer.cloud != "local" else ""
    return f"{place(offer)} · {offer.instance} · {offer.gpus} · ${offer.usd_per_h:.2f} an hour{total}{hours}"


def offer_notes(offers: Sequence[Offer], shown: Sequence[Offer], *, max_cost: float | None = None) -> list[str]:
    """What a buyer should know of the offers that are `shown`, a line each: spot against on demand, quotas, marks."""
    notes = []
    if any(offer.risk is not None and offer.risk.loses for offer in shown):
        notes.append("loses: taken away so often, for so little off, that the same machine on demand is expected to cost less")
    if offers and (sentence := spot_sentence(offers)):
        notes.append(sentence)
    if offers and offers[0].expected_usd is not None and offers[0].transfer_usd > 0.05 * offers[0].expected_usd.value:
        notes.append(f"{dollars(offers[0].transfer_usd)} of the first offer's cost is for sending checkpoints and keeping them")
    if offers and offers[0].quota is not None:
        notes.append(f"{place(offers[0])} counts against the quota {offers[0].quota}; new accounts have little or none of it")
    if max_cost is not None and any(offer.expected_usd is not None and offer.expected_usd.high > max_cost for offer in shown):
        notes.append(f"! above the cap of {dollars(max_cost)}, where the run stops at a sealed checkpoint")
    return notes


def spot_sentence(offers: Sequence[Offer]) -> str:
    """The best spot offer against the best on demand, empty where there are not both."""
    spot = next((offer for offer in offers if offer.spot), None)
    steady = next((offer for offer in offers if not offer.spot), None)
    if spot is None or steady is None or spot.expected_usd is None or steady.expected_usd is None or not steady.expected_usd.value:
        return ""
    assert spot.expected_h is not None
    assert steady.expected_h is not None
    share = spot.expected_usd.value / steady.expected_usd.value - 1
    later = spot.expected_h.value - steady.expected_h.value
    time = f"{duration(abs(later))} {'longer' if later > 0 else 'less'}" if abs(later) * 60 >= 1 else "no longer"
    if share < 0:
        return f"spot saves {-share:.0%} against the cheapest on demand ({place(steady)}, {dollars(steady.expected_usd.value)}) and takes {time}"
    return f"spot loses here: {place(steady)} on demand costs {1 - 1 / (1 + share):.0%} less than the cheapest spot"


def _capped(usd: float, cap: float | None) -> str:
    return dollars(usd) + (" !" if cap is not None and usd > cap else "")


def place(offer: Offer) -> str:
    """Cloud, region and way of paying; `this machine` for the local offer."""
    return offer.region if offer.cloud == "local" else f"{offer.cloud} {offer.region}{' spot' if offer.spot else ''}"


def risk(offer: Offer) -> str:
    """How often the machine is taken away, and whether that makes spot the dearer choice."""
    if offer.risk is None:
        return "–"
    return f"1 / {offer.risk.hours_between.value:.1f} h" + (" loses" if offer.risk.loses else "")


def about_prices(prices: PriceList, now: float) -> str:
    """How old the prices are at Unix time `now`, how many were left out, and which clouds are missing."""
    age = prices.age_h(now)
    old = f"{age:.0f} h" if age < 48 else f"{age / 24:.0f} days"
    dropped = f" · {prices.dropped} dropped (the price looked wrong)" if prices.dropped else ""
    if prices.enabled is not None:
        return f"prices {old} old{dropped} · of the clouds enabled in SkyPilot: {', '.join(prices.enabled)}"
    missing = f" · no catalog of {_some(prices.left_out)}" if prices.left_out else ""
    return f"prices {old} old{dropped}{missing}"


def _some(names: Sequence[str], most: int = 3) -> str:
    """`azure, oci, vast and 12 more`."""
    shown = [name.split(" ")[0] for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


def render_price_table(prices: PriceList, *, now: float, most: int = 40) -> str:
    """Hourly prices alone, the cheapest first, where no recipe says how long a run is: one line for an instance of a cloud, at its cheapest region."""
    from rich.table import Table

    rows: dict[tuple[str, str, str, bool], list[tuple[float, Price]]] = {}
    for price in prices.prices:
        for usd, spot in ((price.usd_per_h, False), (price.spot_usd_per_h, True)):
            if usd is not None:
                rows.setdefault((price.cloud, price.instance, price.gpu, spot), []).append((usd, price))
    if not rows:
        return f"no machine with these GPUs is for sale · {about_prices(prices, now)}"
    cheapest = sorted(
        ((*min(found, key=lambda row: (row[0], row[1].region)), len(found), spot) for (*_, spot), found in rows.items()),
        key=lambda row: (row[0], row[1].cloud, row[1].instance, row[3]),
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("WHERE", "INSTANCE", "GPU", "$/H", "$/H A GPU", "OTHER REGIONS"):
        table.add_column(name, justify="right" if name.startswith(("$", "O")) else "left")
    for usd, price, count, spot in cheapest[:most]:
        where = f"{price.cloud} {price.region}{' spot' if spot else ''}"
        others = str(count - 1) if count > 1 else ""
        table.add_row(where, price.instance, f"{price.count}×{price.gpu}", f"{usd:.2f}", f"{usd / price.count:.2f}", others)
    rest = f"{len(cheapest) - most} more; --json lists them all · " if len(cheapest) > most else ""
    return rendered(table, f"{rest}{about_prices(prices, now)}", width=screen_width())
