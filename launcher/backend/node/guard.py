"""When a run must stop for the sake of money: pure decisions, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.state.usage import Usage

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use. `reserve_s` is how long sealing and sending may take, which is paid for too; `stall_s` None never gives up waiting."""

    max_cost_usd: float | None
    max_hours: float | None
    stall_s: float | None
    reserve_s: float
    max_fruitless: int


def limits_of(config: TrainingConfig) -> Limits:
    """The limits of a run of that recipe."""
    launch = config.launch
    return Limits(
        max_cost_usd=launch.max_cost_usd,
        max_hours=launch.max_hours,
        stall_s=launch.stall_minutes * 60 if launch.stall_minutes is not None else None,
        # To seal and to send; a twentieth of a short cap is enough of it.
        reserve_s=min(launch.recovery.grace_s + 60.0, *([launch.max_hours * 180.0] if launch.max_hours else [float("inf")])),
        max_fruitless=launch.recovery.max_restarts_without_progress,
    )


def over(limits: Limits, usage: Usage, *, submission: str, quiet_s: float) -> str | None:
    """Why to stop now, None for going on. `quiet_s`: seconds since anything happened in the run.

    The cap on money counts every life of the run, the cap on hours those of this submission: a resume begins them anew.
    """
    spent = usage.usd
    price = usage.last.usd_per_h if usage.last is not None else None
    if (
        limits.max_cost_usd is not None
        and spent is not None
        and price is not None
        and spent + price * limits.reserve_s / 3600 >= limits.max_cost_usd
    ):
        return f"reached launch.max_cost_usd = {limits.max_cost_usd:g}: ${spent:.2f} spent, the rest is for sealing"
    hours = usage.hours(submission)
    if limits.max_hours is not None and hours + limits.reserve_s / 3600 >= limits.max_hours:
        return f"reached launch.max_hours = {limits.max_hours:g}"
    if limits.stall_s is not None and quiet_s > limits.stall_s:
        return f"nothing happened for {quiet_s / 60:.0f} min (launch.stall_minutes = {limits.stall_s / 60:g})"
    return None


def hopeless(limits: Limits, usage: Usage) -> str | None:
    """Why not even to begin another life, None where that makes sense."""
    fruitless = usage.fruitless()
    if fruitless > limits.max_fruitless:
        return f"gave up after {fruitless} machines with no newer checkpoint"
    return None
