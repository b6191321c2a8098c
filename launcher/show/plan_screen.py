"""The plan as a screen: one line a topic with its verdict first, the offers, and the sentence about money last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from launcher.plan.offer import Offer
from launcher.plan.offers import cheapest_per_place
from launcher.plan.plan import Line, LineVerdict, Plan
from launcher.show.estimate_screen import data_text, time_text
from launcher.show.figures import dollars, duration, gib, spread
from launcher.show.memory_bar import VERDICT_COLORS, breakdown
from launcher.show.offers import TABLE_WIDTH, about_prices, offer_line, offer_notes, offers_table, place
from launcher.show.saves import saves_text
from launcher.show.screen import rendered, screen_width

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

OFFERS_SHOWN = 6


def render_plan(plan: Plan, *, width: int | None = None, color: bool | None = None) -> str:
    """The plan screen."""
    from rich.text import Text

    width = width or screen_width()
    model = plan.estimate.model.facts.name if plan.estimate is not None else ""
    method = plan.estimate.method if plan.estimate is not None else ""
    recipe = f"{Path(plan.recipe).name}@{plan.config_hash[:7]}"
    head = Text.assemble((f"{Path(model).name or '?'} / {method or '?'}", "bold"), f"   {recipe} → run ", (plan.run, "bold cyan"))
    parts: list[RenderableType] = [head, lines_table(before_offers(plan))]
    if plan.offers:
        parts += [Text(), _offers(plan, wide=width >= TABLE_WIDTH)]
        if not plan.target.is_local:
            shown = cheapest_per_place(plan.offers, most=OFFERS_SHOWN)
            notes = offer_notes(plan.offers, shown, max_cost=plan.max_cost_usd)
            notes += [about_prices(plan.prices, plan.created)] if plan.prices is not None else []
            parts += [Text(f"  {note}", style="dim") for note in notes]
    parts += [Text(), lines_table(after_offers(plan)), Text()]
    parts += [Text(sentence, style="red" if plan.refused else "bold") for sentence in _sentences(plan)]
    return rendered(*parts, width=width, color=color)


def before_offers(plan: Plan) -> list[Line]:
    """config, data, memory, time, saves."""
    return [_config(plan), _data(plan), _memory(plan), _time(plan), _saves(plan)]


def after_offers(plan: Plan) -> list[Line]:
    """budget, secrets, after."""
    return [_budget(plan), _secrets(plan), Line(name="after", verdict="", text=" → ".join(plan.after))]


def money_sentence(plan: Plan) -> str:
    """The sentence that matters, as a statement: what the run costs and how long it takes, where."""
    where = "this machine" if plan.target.is_local else plan.target.hardware.name
    if plan.refused:
        return f"Refused: {plan.refusals[0].message}."
    time = plan.estimate.time if plan.estimate is not None else None
    takes = f"about {duration(time.hours.value)}, at most {duration(time.hours.high)}" if time is not None else "for an unknown time"
    if plan.target.is_local:
        return f"Runs on {where}: $0, {takes}."
    if not plan.offers:
        return f"Runs on {where}: {takes}; no price is known."
    best = plan.offers[0]
    if plan.cost is None:
        never = f", never above {dollars(plan.max_cost_usd)}" if plan.max_cost_usd is not None else ""
        return f"Runs on {place(best)}, {best.gpus}: {dollars(best.usd_per_h)} an hour, {takes}{never}."
    # An interruptible machine takes longer than the training alone.
    takes = f"about {duration(best.expected_h.value)}, at most {duration(best.expected_h.high)}" if best.expected_h is not None else takes
    cap = f", never above {dollars(plan.max_cost_usd)}" if plan.max_cost_usd is not None else f", at most {dollars(plan.cost.high)}"
    return f"Runs on {place(best)}, {best.gpus}: expected {dollars(plan.cost.value)}{cap}; {takes}."


def _sentences(plan: Plan) -> list[str]:
    return [money_sentence(plan), *(f"Refused: {problem.message}." for problem in plan.refusals[1:])]


def lines_table(lines: list[Line]) -> Table:
    """Lines of a plan below each other: name, verdict in its colour, text."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=7)
    table.add_column(no_wrap=True, min_width=7)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(line.name, Text(line.verdict, style=VERDICT_COLORS.get(line.verdict, "yellow")), line.text)
    return table


def _config(plan: Plan) -> Line:
    count = len(plan.warnings)
    warned = f" · {count} warning{'s' if count > 1 else ''}" if count else ""
    return Line(
        name="config",
        verdict="ok",
        text=f"{plan.keys} keys, all known{warned} · config {plan.config_hash[:8]} · data {plan.data.sha256[:8]}",
    )


def _data(plan: Plan) -> Line:
    made = plan.estimate
    if made is None:
        return Line(name="data", verdict="unknown", text="its tokens depend on the model's tokenizer, which is not here")
    if not made.data.known:
        return Line(name="data", verdict="unknown", text=data_text(made) if made.steps.known else made.data.basis)
    longest = f"{made.data.longest:,} · {made.data.basis}" if made.data.exact else f"≤ {made.data.longest:,}"
    return Line(name="data", verdict="ok", text=f"{data_text(made)} · longest {longest}")


def _memory(plan: Plan) -> Line:
    if plan.estimate is None:
        return Line(name="memory", verdict="unknown", text="the model's shape is not known here: --model-config config.json tells it")
    memory = plan.estimate.memory
    verdict: str = "refused" if memory.verdict == "does-not-fit" else memory.verdict
    each = "a GPU" if plan.target.hardware.gpus is not None else "free"
    text = f"{spread(memory.held)} of {gib(memory.capacity_gib)} {each} · {breakdown(memory)}"
    if memory.not_modelled:
        text += f" · not modelled: {'; '.join(memory.not_modelled)}"
    return Line(name="memory", verdict=verdict, text=text)  # type: ignore[arg-type]


def _time(plan: Plan) -> Line:
    made = plan.estimate
    if made is None or made.time is None:
        return Line(name="time", verdict="unknown", text="neither the size of the data nor max_steps is known")
    over = plan.max_hours is not None and made.time.hours.value > plan.max_hours
    return Line(name="time", verdict="tight" if over else "ok", text=time_text(made))


def _saves(plan: Plan) -> Line:
    place = plan.storage or plan.output_dir
    if plan.estimate is None:
        return Line(name="saves", verdict="ok", text=f"to {place}")
    return Line(name="saves", verdict="ok", text=saves_text(plan.estimate.saves, place))


def _offers(plan: Plan, *, wide: bool) -> Table:
    shown = cheapest_per_place(plan.offers, most=OFFERS_SHOWN)
    if wide:
        return offers_table(shown, max_cost=plan.max_cost_usd)
    return lines_table(
        [Line(name=f"offer {number}", verdict=_offer_word(offer), text=offer_line(offer)) for number, offer in enumerate(shown, 1)]
    )


def _offer_word(offer: Offer) -> LineVerdict:
    return "ok" if offer.verdict == "ok" else "refused"


def _budget(plan: Plan) -> Line:
    caps = []
    unkept = not plan.target.is_local and not plan.offers
    if plan.max_cost_usd is not None:
        caps.append(f"cap {dollars(plan.max_cost_usd)}" + (", which nothing keeps without a price" if unkept else ""))
    if plan.max_hours is not None:
        caps.append(f"cap {plan.max_hours:g} h")
    over = any(problem.code == "over-budget" for problem in plan.refusals)
    verdict: LineVerdict = "refused" if over else "unknown" if plan.max_cost_usd is not None and unkept else "ok"
    return Line(name="budget", verdict=verdict, text=" · ".join(caps) if caps else "no cap; --max-cost and --max-hours set one")


def _secrets(plan: Plan) -> Line:
    missing = [name for name, present in plan.secrets if not present]
    names = [name if present else f"{name} (not in the environment)" for name, present in plan.secrets]
    if plan.keys_of_storage is not None:
        names.append(plan.keys_of_storage.words(plan.created))
    elif not plan.target.is_local and (plan.storage or "").startswith("s3:"):
        names.append("no S3 keys here to send: the machine needs a role of its own")
    return Line(name="secrets", verdict="missing" if missing else "ok", text=" · ".join(names) or "none")
