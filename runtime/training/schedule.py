"""Learning-rate schedules that transformers does not have, as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Curve = Callable[[int], float]

# The schedules whose shape is defined here; transformers has the others.
OWN = frozenset({"rex", "one_cycle", "log_sweep"})
# What remains of the rate at a jagged restart: https://arxiv.org/abs/2307.05695 starts anew from nearly nothing.
JAG_FLOOR = 0.001
# torch.optim.lr_scheduler.OneCycleLR's defaults.
ONE_CYCLE = {"div_factor": 25.0, "final_div_factor": 1e4, "anneal_strategy": "cos"}
# Rates between which a sweep looks for the best one, as the public tool has them.
LOG_SWEEP = {"min_lr": 1e-10, "max_lr": 10.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Jag:
    """Every `every` steps the rate falls over `anneal` steps and rises again over `warmup` steps."""

    every: int
    warmup: int = 0
    anneal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a recipe says about its learning rate beyond a schedule of transformers' own. `peak` is the learning rate the curve is a share of."""

    name: str
    peak: float
    settings: dict[str, Any] = field(default_factory=dict)
    floor: float = 0.0
    constant_from: float | None = None
    quadratic: bool = False
    sweep_steps: int | None = None
    jag: Jag | None = None

    @property
    def of_transformers(self) -> bool:
        """Whether transformers' schedule is used as it is."""
        return not (self.own_shape or self.quadratic or self.jag)

    @property
    def own_shape(self) -> bool:
        """Whether the curve between warm-up and end is defined here."""
        return self.name in OWN or self.constant_from is not None


def schedule_of(config: Any) -> Schedule:
    """The schedule of a recipe: `lr_scheduler` with its settings, `lr_quadratic_warmup`, and `jagged_restart_steps` with its two lengths."""
    settings = dict(config.lr_scheduler_kwargs or {})
    if config.lr_div_factor is not None:
        settings["div_factor"] = config.lr_div_factor
    jag = None
    if config.jagged_restart_steps:
        jag = Jag(
            every=config.jagged_restart_steps,
            warmup=config.jagged_restart_warmup_steps or 0,
            anneal=config.jagged_restart_anneal_steps or 0,
        )
    return Schedule(
        name=str(getattr(config.lr_scheduler, "value", config.lr_scheduler) or "cosine"),
        peak=float(config.learning_rate),
        settings=settings,
        floor=config.cosine_min_lr_ratio or 0.0,
        constant_from=config.cosine_constant_lr_ratio,
        quadratic=bool(config.lr_quadratic_warmup),
        sweep_steps=config.warmup_steps or None,
        jag=jag,
    )


def curve_of(schedule: Schedule, library: Callable[[], Curve], *, warmup: int, total: int) -> Curve:
    """The share of the peak learning rate at each optimizer step, counted from 0. `library` gives transformers' curve where that is the inner one."""
    curve = _shape(schedule, warmup=warmup, total=total) if schedule.own_shape else library()
    if schedule.quadratic:
        curve = _quadratic(curve, warmup)
    return curve if schedule.jag is None else _jagged(curve, schedule.jag)


def library_curve(name: str, settings: dict[str, Any] | None, *, peak: float, warmup: int, total: int) -> Curve:
    """transformers' schedule `name` as a share of `peak` at each step."""
    import torch
    from transformers import get_scheduler

    # The library only hands its curves to an optimizer, and sets that optimizer's rate; the run's own must not be touched.
    stand_in = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=peak)
    made = get_scheduler(name, stand_in, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=settings)
    return made.lr_lambdas[0]  # type: ignore[no-any-return,attr-defined]


def _shape(schedule: Schedule, *, warmup: int, total: int) -> Curve:
    if schedule.name == "one_cycle":
        return _one_cycle(ONE_CYCLE | {"pct_start": warmup / max(1, total)} | schedule.settings, total)
    if schedule.name == "log_sweep":
        low, high = (float((LOG_SWEEP | schedule.settings)[name]) / schedule.peak for name in ("min_lr", "max_lr"))
        return _log_sweep(low, high, schedule.sweep_steps or total)
    if schedule.name == "rex":
        return _warmed(_rex(schedule.floor, max(1, total - warmup)), warmup)
    end = int(total * (schedule.constant_from or 1.0))
    return _warmed(_cosine(schedule.floor, max(1, end - warmup)), warmup)


def _warmed(curve: Curve, warmup: int) -> Curve:
    def at(step: int) -> float:
        return step / warmup if step < warmup else curve(step - warmup)

    return at


def _cosine(floor: float, length: int) -> Curve:
    def at(step: int) -> float:
        return floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, step / length))) / 2

    return at


def _rex(floor: float, length: int) -> Curve:
    """Reflected exponential decay, https://arxiv.org/abs/2107.04197, with the constants of the public tool: z / (0.1 + 0.9 z), z what is left."""

    def at(step: int) -> float:
        left = max(0.0, 1 - step / length)
        return floor + (1 - floor) * left / (0.1 + 0.9 * left)

    return at


def _one_cycle(settings: dict[str, Any], total: int) -> Curve:
    """torch's OneCycleLR over `total` steps, without its change of momentum: up until `pct_start`, then down to a hair above zero."""
    start = 1 / settings["div_factor"]
    end = start / settings["final_div_factor"]
    top = float(settings["pct_start"]) * total - 1
    linear = settings["anneal_strategy"] == "linear"

    def between(low: float, high: float, done: float) -> float:
        return low + (high - low) * done if linear else high + (low - high) * (1 + math.cos(math.pi * done)) / 2

    def at(step: int) -> float:
        if step < top:
            return between(start, 1.0, step / top)
        return between(1.0, end, min(1.0, (step - top) / max(1.0, total - 1 - top)))

    return at


def _log_sweep(low: float, high: float, length: int) -> Curve:
    def at(step: int) -> float:
        return low * (high / low) ** min(1.0, step / max(1, length - 1))

    return at


def _quadratic(curve: Curve, warmup: int) -> Curve:
    def at(step: int) -> float:
        return (step / warmup) ** 2 if step < warmup else curve(step)

    return at


def _jagged(curve: Curve, jag: Jag) -> Curve:
    def at(step: int) -> float:
        place = step % jag.every
        open_share = 1.0
        if step >= jag.every and place < jag.warmup:
            open_share = place / jag.warmup
        elif jag.anneal and place > jag.every - jag.anneal:
            open_share = (jag.every - place) / jag.anneal
        return curve(step) * (JAG_FLOOR + (1 - JAG_FLOOR) * open_share)

    return at
