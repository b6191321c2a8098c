"""Advice below an estimate: what makes it fit, what room is left, and where it is cheapest."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.estimate.advice import Advice
from launcher.plan.offer import Offer
from launcher.plan.offers import cheapest_per_place
from launcher.plan.prices import PriceList
from launcher.show.offers import TABLE_WIDTH, about_prices, offer_line, offer_notes, offers_table
from launcher.show.screen import rendered, screen_width

SHOWN = 5


def render_advice(
    advice: Advice,
    offers: Sequence[Offer],
    *,
    prices: PriceList | None,
    now: float,
    max_cost: float | None = None,
    width: int | None = None,
    color: bool | None = None,
) -> str:
    """The offers, then one line of advice each."""
    from rich.text import Text

    parts: list[object] = []
    width = width or screen_width()
    if offers:
        shown = cheapest_per_place(offers, most=SHOWN)
        wide = width >= TABLE_WIDTH
        parts += [Text(), offers_table(shown, max_cost=max_cost)] if wide else [Text(), *(Text(offer_line(offer)) for offer in shown)]
        parts += [Text(f"  {note}", style="dim") for note in offer_notes(offers, shown, max_cost=max_cost)]
    if prices is not None:
        text = about_prices(prices, now)
        parts.append(Text(f"  {text}" if offers else f"no cloud sells these GPUs · {text}", style="dim"))
    parts.append(Text())
    for number, change in enumerate(advice.changes, 1):
        parts.append(Text(f"it fits with {change}" if number == 1 else f"or with      {change}", style="bold"))
    if not advice.changes and advice.largest is not None and advice.largest > advice.given:
        parts.append(Text(_room(advice)))
    return rendered(*parts, width=width, color=color).rstrip()  # type: ignore[arg-type]


def _room(advice: Advice) -> str:
    """The largest micro batch, and what `auto` would make of it."""
    most = f"room: micro_batch_size up to {advice.largest} surely fits"
    if advice.settled is None or advice.settled <= advice.given:
        return f"{most}, but no larger one divides the global batch"
    time = "" if advice.slower is None else f" ({(advice.slower - 1) * 100:+.0f} % time)"
    return f"{most}; --set micro_batch_size=auto takes {advice.settled}{time}"
