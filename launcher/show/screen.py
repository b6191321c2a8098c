"""Text of a screen through rich: as wide as the terminal up to 120 columns, in colour only where a terminal shows it."""

from __future__ import annotations

import io
import os
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDEST = 120
NARROWEST = 40


def rendered(*parts: RenderableType, width: int | None = None, color: bool | None = None) -> str:
    """The parts below each other as text without trailing spaces. `width` and `color` default to what standard output is."""
    from rich.console import Console

    wide = width or screen_width()
    colored = _colored() if color is None else color
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=wide,
        force_terminal=colored,
        no_color=not colored,
        color_system="standard" if colored else None,
        highlight=False,
        emoji=False,
    )
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def screen_width() -> int:
    """Columns of the terminal, between the narrowest and the widest a screen is laid out for; 100 where there is no terminal."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size((100, 24)).columns))


def _colored() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
