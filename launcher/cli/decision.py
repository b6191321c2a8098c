"""What is about to run, one run or several, with the plan behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.backend.job import Job
from runtime.config.problem import Problem

if TYPE_CHECKING:
    from launcher.plan.pins import Pins
    from launcher.plan.plan import Plan
    from launcher.plan.sweep import SweepPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A job with the plan behind it: as a screen and as the data of `--json`. `refusals` are the plan's reasons not to run it; `made` is the plan itself
    where it was made just now, `pins` what was fixed for it."""

    job: Job
    screen: str
    plan: Mapping[str, Any]
    warnings: tuple[Problem, ...]
    refusals: tuple[Problem, ...]
    made: Plan | None = None
    pins: Pins | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepDecision:
    """The runs of a sweep with the plan behind them. `made` is that plan where it was made just now."""

    name: str
    runs: tuple[Decision, ...]
    screen: str
    plan: Mapping[str, Any]
    warnings: tuple[Problem, ...]
    refusals: tuple[Problem, ...]
    made: SweepPlan | None = None
