"""Figures as people read them: sizes, durations, money, counts, ranges."""

from __future__ import annotations

from launcher.estimate.range import Range


def gib(value: float) -> str:
    """`18.9`, `0.03`: GiB with two or three significant digits, the unit left to the caller."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def duration(hours: float) -> str:
    """`45 s`, `41 min`, `3 h 20`, `5 d 4 h`."""
    seconds = round(hours * 3600)
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(hours * 60)
    if minutes < 90:
        return f"{minutes} min"
    if hours < 48:
        return f"{minutes // 60} h {minutes % 60:02d}"
    return f"{round(hours) // 24:,} d {round(hours) % 24} h"


def dollars(value: float) -> str:
    """`$0`, `$0.37`, `$10.8`, `$1,204`."""
    if value == 0:
        return "$0"
    if value < 10:
        return f"${value:.2f}"
    return f"${value:.1f}" if value < 100 else f"${value:,.0f}"


def amount(value: float) -> str:
    """`830`, `61 k`, `50.2 M`, `8.03 B`: a count to three digits."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.3g} {unit}" if scaled < 1000 else f"{scaled:,.0f} {unit}"
    return f"{value:.3g}" if value < 10 else f"{value:.0f}"


def spread(figure: Range, unit: str = "GiB") -> str:
    """`18.9 GiB (17.2 to 21.0)`."""
    return f"{gib(figure.value)} {unit} ({gib(figure.low)} to {gib(figure.high)})"


def span(figure: Range) -> str:
    """`41 min (30 min to 1 h 10)`, of hours."""
    return f"{duration(figure.value)} ({duration(figure.low)} to {duration(figure.high)})"
