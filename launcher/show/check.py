"""A run's measured peak and speed beside their estimate."""

from __future__ import annotations

from launcher.estimate.calibration import Lesson
from launcher.show.figures import amount, gib
from launcher.show.screen import rendered


def render_check(run: str, lesson: Lesson, *, width: int | None = None, color: bool | None = None) -> str:
    """A table of two lines: memory and speed, estimated, measured, and how far off."""
    from rich.table import Table
    from rich.text import Text

    made = lesson.estimate
    on_gpu = made.hardware.gpus is not None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("", "ESTIMATED", "MEASURED", "OFF BY"):
        table.add_column(name, justify="left" if not name else "right")
    expected = made.memory.peak.tensors_gib if on_gpu else made.memory.held.value
    what = "peak of live tensors, GiB" if on_gpu else "peak of a process, GiB"
    table.add_row(what, gib(expected), gib(lesson.peak_gib), _off(lesson.memory_factor))
    if made.time is not None and lesson.speed_factor is not None:
        per = "tokens/s a GPU" if on_gpu else "tokens/s"
        table.add_row(per, amount(made.time.tokens_per_s_per_gpu.value), amount(lesson.tokens_per_s), _off(lesson.speed_factor))
    head = Text.assemble((run, "bold"), f" · {made.model.facts.name} · {made.method} · {made.hardware.name}")
    return rendered(head, Text(), table, width=width, color=color)


def _off(factor: float) -> str:
    """How much more or less was measured than estimated."""
    return f"{factor - 1:+.0%}"
