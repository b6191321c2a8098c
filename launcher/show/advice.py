"""Advice below an estimate: what makes it fit, what room is left, and where it is cheapest."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.estimate.advice import Advice
from launcher.plan.offer import Offer
from launcher.plan.offers import cheapest_per_place
from launcher.plan.prices import PriceList
from launcher.show.offers import TABLE_WIDTH, about_prices, offer_line, offers_table
from launcher.show.screen import rendered, screen_width

SHOWN = 5


def render_advice(
    advice: Advice, offers: Sequence[Offer], *, prices: PriceList | None, now: float, width: int | None = None, color: bool | None = None
) -> str:
    """The offers, then one line of advice each."""
    from rich.text import Text

    parts: list[object] = []
    width = width or screen_width()
    if offers:
        shown = cheapest_per_place(offers, most=SHOWN)
        parts += [Text(), offers_table(shown)] if width >= TABLE_WIDTH else [Text(), *(Text(offer_line(offer)) for offer in shown)]
    if prices is not None:
        text = about_prices(prices, now)
        parts.append(Text(text if offers else f"no cloud sells these GPUs · {text}", style="dim"))
    for number, change in enumerate(advice.changes, 1):
        parts.append(Text(f"it fits with {change}" if number == 1 else f"or with      {change}", style="bold"))
    if not advice.changes and advice.largest is not None and advice.largest > advice.given:
        parts.append(Text(f"room         micro_batch_size up to {advice.largest} surely fits: --set micro_batch_size=auto takes it"))
    return rendered(*parts, width=width, color=color) if parts else ""  # type: ignore[arg-type]
