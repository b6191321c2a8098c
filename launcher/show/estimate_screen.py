"""The whole estimate on one screen: memory as bars, then data, time, saves and cost, and what they rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.show.figures import amount, dollars, duration, span
from launcher.show.memory_bar import memory_line, memory_table
from launcher.show.saves import saves_text
from launcher.show.screen import rendered

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from launcher.estimate.estimate import Estimate


def render_estimate(made: Estimate, *, width: int | None = None, color: bool | None = None) -> str:
    """The screen of one estimate."""
    from rich.text import Text

    facts = made.model.facts
    head = Text.assemble(
        (f"{facts.name}", "bold"), f" · {amount(facts.parameters)} parameters ({made.model.origin}) · {made.method} · {made.hardware.name}"
    )
    parts: list[RenderableType] = [head, Text(), memory_line(made.memory), memory_table(made.memory), Text(), _table(made)]
    return rendered(*parts, width=width, color=color)


def estimate_lines(made: Estimate) -> list[tuple[str, str]]:
    """(topic, figures) of everything but memory."""
    rests = ("basis", f"memory: {made.memory.held.basis}")
    return [
        *_run_lines(made),
        rests,
        *(("assumed", line) for line in assumptions(made)),
        *(("not modelled", line) for line in made.memory.not_modelled),
    ]


def data_text(made: Estimate) -> str:
    """`564 rows ≈ 24 k tokens × 3 epochs = 200 steps of 16 rows`."""
    data, steps = made.data, made.steps
    micro = made.step.workload.micro_batch * made.step.workload.accumulation * made.hardware.processes
    each = f"{steps.steps:,} step{'s' if steps.steps != 1 else ''} of {micro:,} row{'s' if micro != 1 else ''}"
    if not data.known:
        return f"{each}; {data.basis}"
    tokens = data.tokens
    counted = (
        f"= {tokens.value:,.0f} tokens"
        if data.exact
        else f"≈ {amount(tokens.value)} tokens ({amount(tokens.low)} to {amount(tokens.high)})"
    )
    epochs = (
        "1 epoch" if 0.95 <= steps.epochs < 1.05 else f"{steps.epochs:,.0f} epochs" if steps.epochs >= 10 else f"{steps.epochs:.2g} epochs"
    )
    return f"{data.rows.value:,.0f} rows {counted} × {epochs} = {each}"


def time_text(made: Estimate) -> str:
    """`5 h 36 (2 h 36 to 20 h 46): 9 min set-up, 3 min saves · 712 tokens/s a GPU (basis)`."""
    time = made.time
    if time is None:
        return "neither the size of the data nor max_steps is known; set max_steps, or prepare the data first, for a figure"
    parts = [f"{duration(time.setup_h.value)} set-up"]
    if time.saving_h.value >= 0.01 * time.hours.value:
        parts.append(f"{duration(time.saving_h.value)} saves")
    each = " a GPU" if made.hardware.gpus is not None else ""
    return f"{span(time.hours)}, of it {' and '.join(parts)} · {amount(time.tokens_per_s_per_gpu.value)} tokens/s{each} ({time.basis})"


def assumptions(made: Estimate) -> list[str]:
    """What was filled in where the recipe and its data say nothing."""
    said = list(made.memory.assumptions)
    if made.data.evaluated is None:
        said.append("evaluations take no time, as their data are not on this machine")
    if made.time is not None and made.hardware.rented:
        said.append("set-up is 3 to 20 min to get a machine and its image, and the model's download at 0.1 to 1 GB/s")
    return said


def _run_lines(made: Estimate) -> list[tuple[str, str]]:
    if made.time is None:
        return [("data", made.data.basis), ("time", time_text(made))]
    lines = [("data", f"{data_text(made)} · {made.data.basis}" if made.data.known else data_text(made)), ("time", time_text(made))]
    lines.append(("saves", saves_text(made.saves)))
    if made.cost is not None:
        spread = "" if made.cost.high == 0 else f" ({dollars(made.cost.low)} to {dollars(made.cost.high)})"
        lines.append(("cost", f"{dollars(made.cost.value)}{spread}"))
    return lines


def _table(made: Estimate) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for topic, text in estimate_lines(made):
        style = {"assumed": "dim", "not modelled": "yellow"}.get(topic, "")
        table.add_row(Text(topic, style=style), Text(text, style=style))
    return table
