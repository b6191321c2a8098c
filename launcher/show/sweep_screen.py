"""The plan of a sweep as a screen: what the runs share, a row for each run, and the sentence about money last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.plan.plan import Line, LineVerdict, Plan
from launcher.plan.sweep import Member, SweepPlan
from launcher.show.figures import dollars, duration
from launcher.show.offers import TABLE_WIDTH, about_prices, place
from launcher.show.plan_screen import after_offers, before_offers, lines_table
from launcher.show.screen import rendered, screen_width

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def render_sweep(sweep: SweepPlan, *, width: int | None = None, color: bool | None = None) -> str:
    """The screen of a sweep's plan."""
    from rich.text import Text

    width = width or screen_width()
    first = sweep.plans[0]
    method = first.estimate.method if first.estimate is not None else "?"
    model = Path(first.estimate.model.facts.name).name if first.estimate is not None else "?"
    varied = " × ".join(f"{name} ({len(values)})" for name, values in sweep.axes.items())
    head = Text.assemble(
        (f"{model} / {method}", "bold"),
        f"   {Path(first.recipe).name} → sweep ",
        (sweep.name, "bold cyan"),
        f" of {len(sweep.plans)} runs: {varied}",
    )
    parts: list[RenderableType] = [
        head,
        lines_table(_shared(sweep)),
        Text(),
        _table(sweep) if width >= TABLE_WIDTH else lines_table(_rows(sweep)),
    ]
    if first.prices is not None and not first.target.is_local:
        parts.append(Text(f"  {about_prices(first.prices, first.created)}", style="dim"))
    parts += [Text(), lines_table([_budget(sweep), *after_offers(first)[1:]]), Text()]
    parts += [Text(sentence, style="red" if sweep.refused else "bold") for sentence in _sentences(sweep)]
    return rendered(*parts, width=width, color=color)


def _shared(sweep: SweepPlan) -> list[Line]:
    """What is the same for all runs but for their names; where it is not, the line of the first."""
    every = [[replace(line, text=line.text.replace(plan.run, "RUN")) for line in before_offers(plan)] for plan in sweep.plans]
    where = [Line(name="where", verdict="ok", text=_where(sweep.plans[0]))] if _one_place(sweep) else []
    return where + [
        line if all(lines[at] == line for lines in every) else _of_first(line) for at, line in enumerate(every[0]) if line.name != "config"
    ]


def _of_first(line: Line) -> Line:
    return replace(line, text=f"{line.text} (first run)")


def _table(sweep: SweepPlan) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_footer=True)
    cost = sweep.cost
    table.add_column("RUN", footer="all", no_wrap=True, overflow="fold")
    for name in sweep.axes:
        table.add_column(name, overflow="fold")
    table.add_column("MEMORY", no_wrap=True)
    if not _one_place(sweep):
        table.add_column("WHERE", overflow="fold")
    table.add_column("HOURS", no_wrap=True, footer=_hours_together(sweep.plans))
    table.add_column("EXPECTED", no_wrap=True, footer=dollars(cost.value) if cost is not None else "unknown")
    table.add_column("WORST 90 %", no_wrap=True, footer=dollars(cost.high) if cost is not None else "unknown")
    if sweep.max_cost_usd is not None:
        table.add_column("ITS CAP", no_wrap=True, footer=dollars(sweep.max_cost_usd))
    for member, plan in zip(sweep.members, sweep.plans, strict=True):
        table.add_row(*_row(sweep, member, plan))
    return table


def _rows(sweep: SweepPlan) -> list[Line]:
    """The runs a line each, for screens too narrow for the table."""
    lines = []
    for member, plan in zip(sweep.members, sweep.plans, strict=True):
        found = plan.estimate.memory.verdict if plan.estimate is not None else "unknown"
        verdict: LineVerdict = "refused" if found == "does-not-fit" else found
        parts = [member.words, *([] if _one_place(sweep) else [_where(plan)])]
        parts += [duration(plan.hours.value)] if plan.hours is not None else []
        parts += [f"{dollars(plan.cost.value)}, at most {dollars(plan.cost.high)}"] if plan.cost is not None else []
        parts += [f"cap {dollars(plan.max_cost_usd)}"] if plan.max_cost_usd is not None else []
        lines.append(Line(name=f"run {member.number}", verdict=verdict, text=" · ".join(parts)))
    return lines


def _row(sweep: SweepPlan, member: Member, plan: Plan) -> list[str]:
    hours = plan.hours
    cells = [plan.run, *(member.values[name] for name in sweep.axes)]
    cells.append(plan.estimate.memory.verdict if plan.estimate is not None else "unknown")
    if not _one_place(sweep):
        cells.append(_where(plan))
    cells.append(duration(hours.value) if hours is not None else "unknown")
    cells += [dollars(plan.cost.value), dollars(plan.cost.high)] if plan.cost is not None else ["unknown", "unknown"]
    if sweep.max_cost_usd is not None:
        cells.append(dollars(plan.max_cost_usd) if plan.max_cost_usd is not None else "–")
    return cells


def _one_place(sweep: SweepPlan) -> bool:
    return len({_where(plan) for plan in sweep.plans}) == 1


def _where(plan: Plan) -> str:
    best = plan.offers[0] if plan.offers else None
    return f"{place(best)}, {best.gpus}" if best is not None else plan.target.hardware.name


def _hours_together(plans: tuple[Plan, ...]) -> str:
    hours = [plan.hours for plan in plans]
    known = [one.value for one in hours if one is not None]
    return duration(sum(known)) if len(known) == len(hours) else "unknown"


def _budget(sweep: SweepPlan) -> Line:
    over = any(problem.code == "over-budget" for problem in sweep.refusals)
    first = sweep.plans[0]
    hours = f" · cap {first.max_hours:g} h for each run" if first.max_hours is not None else ""
    if sweep.max_cost_usd is None:
        return Line(
            name="budget", verdict="refused" if over else "ok", text=f"no cap on cost; --max-cost sets one for all runs together{hours}"
        )
    text = f"cap {dollars(sweep.max_cost_usd)} for all runs together, shared out by expected cost: no run goes above its part{hours}"
    return Line(name="budget", verdict="refused" if over else "ok", text=text)


def _sentences(sweep: SweepPlan) -> list[str]:
    if sweep.refused:
        return [f"Refused: {problem.message}." for problem in sweep.refusals]
    count = len(sweep.plans)
    if sweep.plans[0].target.is_local:
        return [f"Runs {count} times on this machine, one after another: $0, about {_hours_together(sweep.plans)}."]
    if sweep.cost is None:
        return [f"{count} runs side by side; no price or no length is known."]
    most = f"never above {dollars(sweep.max_cost_usd)}" if sweep.max_cost_usd is not None else f"at most {dollars(sweep.cost.high)}"
    return [f"{count} runs side by side: expected {dollars(sweep.cost.value)} together, {most}."]
