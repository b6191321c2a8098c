"""The recipe families as a table: sizes, methods, licences, and the memory each needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.show.figures import gib
from launcher.show.screen import rendered

if TYPE_CHECKING:
    from rich.console import RenderableType

    from launcher.estimate.family_needs import Need
    from launcher.recipe.catalogue import Catalogue


def render_families(catalogue: Catalogue, found: Sequence[Need], *, width: int | None = None, color: bool | None = None) -> str:
    """One line for each size: GiB on one GPU by method, the licence; then what the figures mean."""
    from rich.table import Table
    from rich.text import Text

    methods = tuple(dict.fromkeys(need.method for need in found))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("FAMILY", no_wrap=True)
    table.add_column("SIZE", no_wrap=True)
    for method in methods:
        table.add_column(method.upper(), justify="right", no_wrap=True)
    table.add_column("LICENCE")
    by_place = {(need.family, need.size, need.method): need for need in found}
    shown = ""
    for family, size in dict.fromkeys((need.family, need.size) for need in found):
        cells = [_cell(by_place.get((family, size, method))) for method in methods]
        facts = catalogue.family(family).facts(size)
        licence = facts["licence"] + (", gated" if facts["gated"] else "")
        table.add_row(Text(family if family != shown else "", style="bold"), size, *cells, licence)
        shown = family
    legend = "GiB of one GPU as `launcher new FAMILY --size SIZE --method METHOD` writes the recipe; with --gpus it makes the batch fit."
    parts: list[RenderableType] = [table, Text(), Text(legend, style="dim")]
    if any(need.per_gpu_gib is not None and need.smallest is None for need in found):
        parts.append(
            Text("* more than any one GPU has, and sharing a model's training state between GPUs is not built yet.", style="yellow")
        )
    return rendered(*parts, width=width, color=color)


def _cell(need: Need | None) -> str:
    if need is None:
        return "–"
    if need.per_gpu_gib is None:
        return "?"
    return gib(need.per_gpu_gib) + ("" if need.smallest is not None else "*")
