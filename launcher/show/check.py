"""A run's measured peak and speed beside their estimate."""

from __future__ import annotations

from launcher.estimate.calibration import Comparison
from launcher.show.figures import amount, gib
from launcher.show.screen import rendered
from launcher.state.measurements import Measurement


def render_check(comparison: Comparison, measured: Measurement, *, width: int | None = None, color: bool | None = None) -> str:
    """A table: memory and speed, estimated, measured, and how far off."""
    from rich.table import Table
    from rich.text import Text

    made, expected = comparison.estimate, comparison.expected_gib
    on_gpu = made.hardware.gpus is not None
    what = "peak of live tensors" if on_gpu else "peak of a process"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("", "ESTIMATED", "MEASURED", "OFF BY"):
        table.add_column(name, justify="left" if not name else "right")
    if measured.probed is not None:
        table.add_row(f"{what} in the probe, GiB", gib(expected), gib(measured.probed.peak_gib), _off(measured.probed.peak_gib / expected))
    if measured.peak_gib is not None:
        table.add_row(f"{what} in training, GiB", gib(expected), gib(measured.peak_gib), _off(measured.peak_gib / expected))
    if made.time is not None and comparison.tokens_per_s is not None and comparison.speed_factor is not None:
        per = "tokens/s a GPU" if on_gpu else "tokens/s"
        table.add_row(per, amount(made.time.tokens_per_s_per_gpu.value), amount(comparison.tokens_per_s), _off(comparison.speed_factor))
    head = Text.assemble((measured.run, "bold"), f" · {made.model.facts.name} · {made.method} · {made.hardware.name}")
    return rendered(head, Text(), table, *(Text(line, style="dim") for line in notes(measured)), width=width, color=color)


def notes(measured: Measurement) -> list[str]:
    """What to know about the figures, a line each."""
    said = []
    if measured.probed is not None:
        said.append(
            f"the probe's step held the longest rows, {measured.probed.tokens:,} tokens; the larger of both peaks corrects later estimates"
        )
        if measured.probed.lowered_from is not None:
            said.append(
                f"estimated with micro_batch_size {measured.probed.micro_batch}: the probe lowered it from {measured.probed.lowered_from}"
            )
    if measured.tokens_per_s is None:
        said.append(f"{measured.steps} steps are too few to tell the speed; six are enough")
    return said


def _off(factor: float) -> str:
    """How much more or less was measured than estimated."""
    return f"{factor - 1:+.0%}"
