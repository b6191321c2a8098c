"""What state a rented run is in: its own word in the storage first, SkyPilot's where that is silent. Pure decisions."""

from __future__ import annotations

from launcher.backend.protocol import ACTIVE
from launcher.backend.sky.cloud import ENDED, Seen
from launcher.backend.sky.submission import Submission
from launcher.state.usage import Usage
from runtime.config.problem import ExitCode
from runtime.record import RunRecord

FRESH_S = 90.0
"""A machine gives a sign of life every 15 seconds; after so many it is asked about elsewhere. Clocks of two computers differ by some of it."""
PATIENCE_S = 1800.0
"""A machine that nobody here can ask about may be being set up, or replaced, for so long."""


def speaks(record: RunRecord, usage: Usage, *, submission: str, now: float) -> bool:
    """Whether the storage alone says how this submission of the run is: it has ended, or its machine gave a sign of life just now."""
    life = usage.last
    if record.state not in ACTIVE:
        return True
    return life is not None and life.submission == submission and not life.ended and now - life.beat < FRESH_S


def judged(record: RunRecord, usage: Usage, seen: Seen, *, submission: str) -> RunRecord:
    """The record as it is when its machine is silent and SkyPilot says `seen`."""
    life = usage.last
    began = life is not None and life.submission == submission
    match seen.phase:
        case "waiting" | "starting" | "running" | "recovering":
            if seen.phase == "running" and began and life is not None and not life.ended:
                return record
            state = "recovering" if began or seen.phase == "recovering" else "starting"
            words = {
                "waiting": "waiting for a machine",
                "starting": "a machine is being set up",
                "running": "its machine is being set up",
                "recovering": "its machine was taken away, another one is looked for",
            }[seen.phase]
            return record.model_copy(update={"state": state, "message": _with(words, seen)})
        case "no-capacity":
            return _ended(record, "failed", ExitCode.NO_CAPACITY, _with("no machine was to be had", seen))
        case "set-up-failed":
            return _ended(record, "failed", ExitCode.TRAINING_FAILED, _with("setting the machine up failed", seen))
        case "cancelled":
            return _ended(record, "stopped", ExitCode.INTERRUPTED, "cancelled")
        case "gone":
            return record.model_copy(update={"state": "lost", "message": "SkyPilot knows nothing of it any more"})
        case _:
            return _ended(record, "failed", ExitCode.TRAINING_FAILED, _with("its machine ended without a last word", seen))


def still_hoped_for(record: RunRecord, usage: Usage, submission: Submission, *, now: float) -> RunRecord | None:
    """The record of a silent run whose job only another computer's SkyPilot can tell of; None once the silence has lasted for too long."""
    life = usage.last
    began = life is not None and life.submission == submission.id
    heard = max(submission.submitted, life.beat if life is not None and began else 0.0)
    if now - heard > PATIENCE_S:
        return None
    words = "nothing is heard of its machine" if began else "its machine has not spoken yet"
    return record.model_copy(update={"message": f"{words}; the computer that submitted it can ask SkyPilot"})


def is_over(seen: Seen) -> bool:
    """Whether SkyPilot will do nothing more for it."""
    return seen.phase in ENDED


def _with(words: str, seen: Seen) -> str:
    return f"{words}: {seen.detail}" if seen.detail else words


def _ended(record: RunRecord, state: str, code: ExitCode, message: str) -> RunRecord:
    return record.model_copy(update={"state": state, "exit_code": int(code), "message": message})
