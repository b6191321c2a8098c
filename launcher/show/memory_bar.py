"""The memory of a run as bars, one for each phase of a step against the card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.estimate.peak import GIB, TERMS
from launcher.show.figures import gib, spread

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from launcher.estimate.estimate import MemoryEstimate
    from launcher.estimate.peak import Phase

# A letter stands for a term in the bars, so that they read without colour.
MARKS = {"weights": "W", "adapter": "a", "gradients": "g", "optimizer": "O", "activations": "A", "logits": "L", "buffers": "b"}
COLORS = {
    "weights": "blue",
    "adapter": "cyan",
    "gradients": "yellow",
    "optimizer": "magenta",
    "activations": "green",
    "logits": "red",
    "buffers": "white",
}
VERDICT_COLORS = {"ok": "green", "fits": "green", "tight": "yellow", "does-not-fit": "red", "refused": "red"}


def memory_line(memory: MemoryEstimate) -> Text:
    """Verdict, figure, spread, and what it consists of."""
    from rich.text import Text

    where = f"of {gib(memory.capacity_gib)} GiB"
    verdict = memory.verdict.replace("-", " ")
    return Text.assemble(
        "memory  ",
        (verdict, VERDICT_COLORS[memory.verdict]),
        f"   {spread(memory.held)} {where}; peak of live tensors {gib(memory.peak.tensors_gib)} GiB in the {memory.peak.phase.name} phase",
    )


def breakdown(memory: MemoryEstimate) -> str:
    """`weights 5.5 · adapter 0.9 · activations 8.7`, of the fullest phase, the rest on top as `other`."""
    terms = memory.peak.breakdown_gib
    shown = [f"{term} {gib(value)}" for term, value in terms.items() if value >= max(0.005, 0.005 * memory.held.value)]
    other = memory.held.value - sum(terms.values())
    return " · ".join([*shown, f"context and slack {gib(other)}"])


def memory_table(memory: MemoryEstimate, *, cells: int = 44) -> Table:
    """One bar a phase: letters for its terms, dots up to the card's size."""
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    # The legend gives way where the screen is narrow, never the bars.
    table.add_column(min_width=cells)
    table.add_column(justify="right", no_wrap=True)
    largest = max(memory.capacity_gib, memory.peak.tensors_gib)
    for phase in memory.peak.phases:
        marker = "▸ " if phase is memory.peak.phase else "  "
        table.add_row(marker + phase.name, _bar(phase, largest, memory.capacity_gib, cells), gib(phase.total / GIB))
    present = [term for term in TERMS if any(phase.terms.get(term, 0) > 0 for phase in memory.peak.phases)]
    table.add_row("", " ".join(f"{MARKS[term]} {term}" for term in present), "GiB", style="dim")
    return table


def _bar(phase: Phase, largest: float, capacity: float, cells: int) -> Text:
    from rich.text import Text

    bar = Text()
    filled = 0
    reached = 0.0
    for term in TERMS:
        reached += phase.terms.get(term, 0.0) / GIB
        end = round(reached / largest * cells)
        if end > filled:
            bar.append(MARKS[term] * (end - filled), style=COLORS[term])
            filled = end
    bar.append("·" * max(0, round(capacity / largest * cells) - filled), style="dim")
    return bar
