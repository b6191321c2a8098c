"""The curves of a run: loss, learning rate, speed and memory over steps, in the terminal and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from runtime.events import Event, latest_per_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One quantity over optimizer steps."""

    name: str
    title: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


_TITLES = {"loss": "loss", "learning_rate": "learning rate", "tokens_per_s": "tokens per second", "memory_gib": "memory (GiB)"}


def curves_of(events: Sequence[Event]) -> list[Curve]:
    """The curves the events hold, training loss first; steps done again after a resume count once, as they were done last."""
    losses = latest_per_step(events, "loss")
    curves = [_curve(losses, key, key, title) for key, title in _TITLES.items()]
    curves.insert(1, _curve(latest_per_step(events, "eval"), "loss", "eval_loss", "evaluation loss"))
    return [curve for curve in curves if curve.steps]


def draw(curves: Sequence[Curve], *, width: int, height: int = 12) -> str:
    """The curves as plain text, one below the other; training and evaluation loss share one plot."""
    evaluation = next((curve for curve in curves if curve.name == "eval_loss"), None)
    plots = []
    for curve in curves:
        if curve.name == "eval_loss":
            continue
        others = evaluation if curve.name == "loss" else None
        plots.append(_plot(curve, others, width=width, height=height))
    return "\n".join(plots)


def save_png(curves: Sequence[Curve], path: Path, *, title: str) -> None:
    """Write the curves as a PNG to `path`. Raises OSError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [curve for curve in curves if curve.name != "eval_loss"]
    evaluation = next((curve for curve in curves if curve.name == "eval_loss"), None)
    figure = Figure(figsize=(8, 2.6 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for index, curve in enumerate(shown, start=1):
        axes = figure.add_subplot(len(shown), 1, index)
        axes.plot(curve.steps, curve.values, linewidth=1.2, marker="." if len(curve.steps) < 3 else "", label="training")
        axes.set_ylabel(curve.title)
        axes.grid(visible=True, alpha=0.3)
        if curve.name == "loss" and evaluation is not None:
            axes.plot(evaluation.steps, evaluation.values, marker="o", markersize=3, label="evaluation")
            axes.legend()
        if index == len(shown):
            axes.set_xlabel("optimizer step")
    # Written under the final name's own suffix, so that matplotlib does not have to guess the format.
    figure.savefig(path, format="png", dpi=130)


def save_overlay(curves: Sequence[Curve], path: Path, *, title: str) -> None:
    """Write one quantity of several runs on common axes as a PNG to `path`, each curve named by its title. Raises OSError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    for curve in curves:
        axes.plot(curve.steps, curve.values, linewidth=1.2, marker="." if len(curve.steps) < 3 else "", label=curve.title)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, format="png", dpi=130)


def sparkline(values: Sequence[float], *, width: int) -> str:
    """The values as one line of blocks, the newest on the right."""
    if not values:
        return ""
    blocks = "▁▂▃▄▅▆▇█"
    if len(values) > width:
        # Means of equal stretches, so that the whole course stays visible.
        edges = [round(index * len(values) / width) for index in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(values), max(values)
    span = high - low or 1.0
    return "".join(blocks[min(7, int((value - low) / span * 8))] for value in values)


def _plot(curve: Curve, evaluation: Curve | None, *, width: int, height: int) -> str:
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.title(curve.title if evaluation is None else f"{curve.title} (x: evaluation)")
    signal = figure.signal(curve.steps, curve.values, marker="braille" if len(curve.steps) > 1 else "x")
    figure.draw(signal.lines() if len(curve.steps) > 1 else signal)
    values = [*curve.values, *(evaluation.values if evaluation is not None else ())]
    if evaluation is not None:
        figure.draw(figure.signal(evaluation.steps, evaluation.values, marker="x"))
    ticks = _ticks(min(values), max(values))
    figure.ruler("y").ticks(ticks, [_number(tick) for tick in ticks])
    steps = sorted({round(tick) for tick in _ticks(curve.steps[0], curve.steps[-1])})
    figure.ruler("x").ticks(steps, [str(step) for step in steps])
    # The picture goes to pipes and logs as well; it needs no colours to be read.
    return "\n".join(line.rstrip() for line in plotext.uncolorize(str(figure.build())).splitlines())


def _ticks(low: float, high: float) -> list[float]:
    return [low] if low == high else [low + (high - low) * part / 3 for part in range(4)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _curve(events: Sequence[Event], key: str, name: str, title: str) -> Curve:
    points = [(event["step"], float(event[key])) for event in events if isinstance(event.get(key), int | float)]
    # Infinite and missing losses would stretch the axes to nothing; they are left out of the line.
    points = [(step, value) for step, value in points if abs(value) < float("inf")]
    return Curve(name=name, title=title, steps=tuple(step for step, _ in points), values=tuple(value for _, value in points))
