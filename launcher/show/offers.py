"""Offers as a table: where, what, how risky, and what the run is expected to cost there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.plan.offer import Offer
from launcher.plan.prices import PriceList
from launcher.show.figures import dollars, duration
from launcher.show.screen import rendered, screen_width

if TYPE_CHECKING:
    from rich.table import Table

TABLE_WIDTH = 90
"""Columns from which the offers are a table."""


def offers_table(offers: Sequence[Offer]) -> Table:
    """The offers with the first one marked."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("  #", "WHERE", "INSTANCE", "GPU", "$/H", "SPOT RISK", "EXPECTED", "WORST", "VERDICT"):
        folds = name in ("WHERE", "INSTANCE")
        table.add_column(name, justify="right" if name == "$/H" else "left", no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for number, offer in enumerate(offers, 1):
        expected = worst = "unknown"
        if offer.expected_h is not None and offer.expected_usd is not None:
            expected = f"{dollars(offer.expected_usd.value)}  {duration(offer.expected_h.value)}"
            worst = f"{dollars(offer.expected_usd.high)}  {duration(offer.expected_h.high)}"
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
    return f"{place(offer)} · {offer.instance} · {offer.gpus} · ${offer.usd_per_h:.2f} an hour{hours}"


def place(offer: Offer) -> str:
    """Cloud, region and way of paying; `this machine` for the local offer."""
    return offer.region if offer.cloud == "local" else f"{offer.cloud} {offer.region}{' spot' if offer.spot else ''}"


def risk(offer: Offer) -> str:
    """How often the machine is taken away, and whether that makes spot the dearer choice."""
    if offer.risk is None:
        return "–"
    return f"1 / {offer.risk.hours_between.value:.1f} h" + (" loses" if offer.risk.loses else "")


def about_prices(prices: PriceList, now: float) -> str:
    """How old the prices are at Unix time `now`, and how many were left out."""
    age = prices.age_h(now)
    old = f"{age:.0f} h" if age < 48 else f"{age / 24:.0f} days"
    dropped = f" · {prices.dropped} dropped (the price looked wrong)" if prices.dropped else ""
    return f"prices {old} old{dropped}"


def render_price_table(prices: PriceList, *, gpus: Sequence[str], now: float, most: int = 40) -> str:
    """Hourly prices alone, the cheapest first, where no recipe says how long a run is."""
    from rich.table import Table

    rows = [
        (usd, price, spot)
        for price in prices.prices
        if not gpus or f"{price.gpu}:{price.count}" in gpus
        for usd, spot in ((price.usd_per_h, False), (price.spot_usd_per_h, True))
        if usd is not None
    ]
    rows.sort(key=lambda row: (row[0], row[1].cloud, row[1].region))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("WHERE", "INSTANCE", "GPU", "$/H", "$/H A GPU"):
        table.add_column(name, justify="right" if name.startswith("$") else "left")
    for usd, price, spot in rows[:most]:
        where = f"{price.cloud} {price.region}{' spot' if spot else ''}"
        table.add_row(where, price.instance, f"{price.count}×{price.gpu}", f"{usd:.2f}", f"{usd / price.count:.2f}")
    rest = f"{len(rows) - most} more; --json lists them all · " if len(rows) > most else ""
    return rendered(table, f"{rest}{about_prices(prices, now)}", width=screen_width())
