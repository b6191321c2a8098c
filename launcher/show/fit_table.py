"""Which GPUs a recipe fits on, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from launcher.estimate.fitting import smallest_of_each
from launcher.estimate.range import Range
from launcher.plan.offer import Offer
from launcher.show.figures import amount, dollars, gib, span
from launcher.show.offers import place
from launcher.show.screen import rendered

if TYPE_CHECKING:
    from launcher.estimate.estimate import Estimate
    from launcher.estimate.fitting import Fit


ROWS = 24
"""With prices, so many of the cheapest choices are shown."""


def render_fits(
    smallest: Estimate,
    rows: Sequence[Fit],
    *,
    offers: Mapping[str, Offer] | None = None,
    width: int | None = None,
    color: bool | None = None,
) -> str:
    """What holds the recipe: without `offers` the smallest count of each kind, with the cheapest offer for each choice the cheapest choices first."""
    from rich.table import Table
    from rich.text import Text

    facts = smallest.model.facts
    head = Text.assemble((facts.name, "bold"), f" · {amount(facts.parameters)} parameters ({smallest.model.origin}) · {smallest.method}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, justify in (
        ("GPUS", "left"),
        ("CARD GiB", "right"),
        ("NEEDS GiB", "right"),
        ("AT LEAST–MOST", "right"),
        ("VERDICT", "left"),
        ("TIME", "left"),
        *([("CHEAPEST", "left")] if offers else []),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=name != "TIME")
    every = [row for row in rows if row.count is not None]
    fitting = [row for row in every if choice(row) in offers][:ROWS] if offers else smallest_of_each(every)
    for row in fitting:
        memory, time = row.estimate.memory, row.estimate.time
        table.add_row(
            f"{row.gpu.name}:{row.count}",
            gib(row.gpu.capacity_gib),
            gib(memory.held.value),
            f"{gib(memory.held.low)}–{gib(memory.held.high)}",
            memory.verdict,
            span(_hours(row, offers) or time.hours) if time is not None else "unknown",
            *([_offered(offers[choice(row)])] if offers else []),
        )
    parts = [head, Text(), table] if fitting else [head, Text()]
    unsold = sorted({row.gpu.name for row in every} - {row.gpu.name for row in every if choice(row) in offers}) if offers else []
    if unsold:
        parts.append(Text(f"fits too, and no price is known: {', '.join(unsold)}", style="dim"))
    if offers:
        parts.append(Text("time and money of the cheapest offer, interruptions included where it is spot", style="dim"))
    refused = [row.gpu.name for row in rows if row.count is None and not row.unable]
    unable = [row.gpu.name for row in rows if row.unable]
    if refused:
        parts.append(Text("does not fit on: " + ", ".join(refused), style="dim"))
    if unable:
        why = next(row.unable for row in rows if row.unable)
        parts.append(Text(f"cannot compute it: {', '.join(unable)} ({why})", style="dim"))
    parts += [Text(f"assumed: {line}", style="dim") for line in smallest.memory.assumptions]
    parts += [Text(f"not modelled: {line}", style="yellow") for line in smallest.memory.not_modelled]
    return rendered(*parts, width=width, color=color)


def choice(row: Fit) -> str:
    """The GPUs of a row as an offer names them."""
    return f"{row.count}×{row.gpu.name}"


def _hours(row: Fit, offers: Mapping[str, Offer] | None) -> Range | None:
    """The time on the offer that is shown."""
    return offers[choice(row)].expected_h if offers else None


def _offered(offer: Offer) -> str:
    if offer.expected_usd is None:
        return f"${offer.usd_per_h:.2f} an hour · {place(offer)}"
    return f"{dollars(offer.expected_usd.value)} ({dollars(offer.expected_usd.low)} to {dollars(offer.expected_usd.high)}) · {place(offer)}"
