"""What follows the end of a training process: pure decisions, no clock and no processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runtime.config.problem import ExitCode
from runtime.record import RunState

# How a shell or torchrun reports a child that died by SIGKILL, SIGSEGV, SIGABRT, SIGBUS or SIGTERM.
_SIGNALLED = frozenset({134, 135, 137, 139, 143})
_MAX_PAUSE_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """The end of one attempt as the supervisor saw it. `stop_asked` holds the reason when somebody asked for the stop, and is empty otherwise; `trained`:
    the final model is sealed on this machine."""

    exit_status: int
    stop_asked: str
    preempted: bool
    sealed_step: int
    deaths_without_progress: int
    trained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do next: go on to publishing, start again after a pause, or end in a state with an exit code."""

    action: Literal["publish", "restart", "end"]
    state: RunState = "training"
    exit_code: ExitCode = ExitCode.OK
    message: str = ""
    pause_s: float = 0.0


def judge(death: Death, *, max_deaths: int) -> Verdict:
    """The verdict on an attempt. `deaths_without_progress` counts this death too, when it was one."""
    if death.exit_status == ExitCode.OK:
        return Verdict(action="publish", state="publishing")
    if death.stop_asked and (was_signalled(death.exit_status) or death.exit_status in (ExitCode.INTERRUPTED, ExitCode.CANCELLED)):
        return Verdict(action="end", state="stopped", exit_code=ExitCode.INTERRUPTED, message=_stopped(death))
    if was_signalled(death.exit_status) or (death.preempted and death.exit_status == ExitCode.INTERRUPTED):
        return _after_death(death, max_deaths)
    if death.exit_status in (ExitCode.INTERRUPTED, ExitCode.CANCELLED):
        return Verdict(action="end", state="stopped", exit_code=ExitCode.INTERRUPTED, message=_stopped(death))
    if death.exit_status == ExitCode.NOT_VERIFIED and death.trained:
        # The store did not take the model; `launcher publish` sends it when it does.
        return Verdict(action="end", state="unverified", exit_code=ExitCode.NOT_VERIFIED)
    known = {ExitCode.INVALID, ExitCode.REFUSED, ExitCode.NO_CAPACITY, ExitCode.NOT_VERIFIED, ExitCode.REMOTE_REFUSED}
    code = ExitCode(death.exit_status) if death.exit_status in known else ExitCode.TRAINING_FAILED
    return Verdict(action="end", state="failed", exit_code=code)


def was_signalled(exit_status: int) -> bool:
    """Whether the process died by a signal, directly or as its parent reported it."""
    return exit_status < 0 or exit_status in _SIGNALLED


def _after_death(death: Death, max_deaths: int) -> Verdict:
    if death.deaths_without_progress > max_deaths:
        where = f"checkpoint {death.sealed_step}" if death.sealed_step >= 0 else "the start"
        return Verdict(
            action="end",
            state="failed",
            exit_code=ExitCode.TRAINING_FAILED,
            message=f"gave up after {death.deaths_without_progress} deaths with no checkpoint newer than {where}",
        )
    # The first death restarts at once: most are single events. Repeated ones wait 1, 2, 4, 8 seconds.
    pause_s = 0.0 if death.deaths_without_progress <= 1 else min(_MAX_PAUSE_S, 2.0 ** (death.deaths_without_progress - 2))
    return Verdict(action="restart", pause_s=pause_s)


def _stopped(death: Death) -> str:
    reason = death.stop_asked or "interrupted"
    if death.sealed_step >= 0:
        return f"{reason}; sealed at step {death.sealed_step}"
    return f"{reason}; no checkpoint was sealed yet, so a resume begins at the start"
