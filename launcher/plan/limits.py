"""Why a run must not start: it does not fit, costs too much, or takes too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.estimate.advice import changes_that_fit
from launcher.estimate.estimate import Estimate
from runtime.config.problem import Problem

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


def over_limits(config: TrainingConfig, made: Estimate, *, max_cost: float | None, max_hours: float | None) -> list[Problem]:
    """Every reason by memory, money and time not to run what was estimated as `made`."""
    problems = []
    memory = made.memory
    if memory.verdict == "does-not-fit":
        what = "card" if made.hardware.gpus else "free memory"
        problems.append(
            Problem(
                code="does-not-fit",
                message=f"it needs {memory.held.value:.1f} GiB ({memory.held.low:.1f} to {memory.held.high:.1f}) and the {what} has {memory.capacity_gib:.1f} GiB",
                place=made.hardware.name,
                fix=_smaller(config, made),
            )
        )
    # Refused only when even the cheap end is over: the node enforces the cap for what lies between.
    if max_cost is not None and made.cost is not None and made.cost.low > max_cost:
        problems.append(
            Problem(
                code="over-budget",
                path="launch.max_cost_usd",
                message=f"it costs ${made.cost.value:,.2f} (at least ${made.cost.low:,.2f}) and the cap is ${max_cost:,.2f}",
                fix="raise --max-cost, or train fewer steps",
            )
        )
    if max_hours is not None and made.time is not None and made.time.hours.low > max_hours:
        problems.append(
            Problem(
                code="over-budget",
                path="launch.max_hours",
                message=f"it takes {made.time.hours.value:,.1f} h (at least {made.time.hours.low:,.1f}) and the cap is {max_hours:g} h",
                fix="raise --max-hours, or train fewer steps",
            )
        )
    return problems


def _smaller(config: TrainingConfig, made: Estimate) -> str:
    """The least changes with which it fits."""
    changes = changes_that_fit(config, made.model, made.hardware, made.data, now=made)
    if not changes:
        larger = "a larger GPU; `launcher estimate` without --gpus shows which fit" if made.hardware.gpus else "a machine with more memory"
        return f"no change of batch, method or length makes it fit: take {larger}"
    return "it fits with " + "; or with ".join(str(change) for change in changes)
