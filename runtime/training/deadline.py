"""What a run that will be killed can still put in safety: bytes over measured speed against the time left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Kept free of any plan: a step boundary, a barrier, the process's own end, and clouds whose clock and ours differ by seconds.
MARGIN_S = 10.0
# A notice of a few seconds would be all margin; there a third of it has to do. A seal that the kill cuts off leaves no checkpoint, not a broken one.
MARGIN_SHARE = 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of a checkpoint to resume from, and of the weights alone, which can be used and published but not resumed from exactly."""

    full: int
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Bytes a second until a checkpoint is sealed here, and until it is in the store; None without a store. `unsent` bytes wait to be sent before it."""

    seal: float
    send: float | None = None
    unsent: int = 0

    def sealed_s(self, size: int) -> float:
        """Seconds until `size` bytes are sealed on this machine."""
        return size / self.seal

    def sent_s(self, size: int) -> float:
        """Seconds until `size` bytes, sealed here first, are in the store too; the same as `sealed_s` without a store."""
        return self.sealed_s(size) + (0.0 if self.send is None else (self.unsent + size) / self.send)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What is saved before the end: the `full` checkpoint, the `weights`, or nothing more than what is sealed already (`keep`). `seconds` is how long
    it is expected to take, 0 for `keep`; `sends`: also to the store."""

    what: Literal["full", "weights", "keep"]
    seconds: float = 0.0
    sends: bool = True


def usable_s(left_s: float) -> float:
    """How much of the time left may be planned with, seconds."""
    return max(0.0, left_s - min(MARGIN_S, left_s * MARGIN_SHARE))


def choose_ending(left_s: float | None, sizes: Sizes, speeds: Speeds, *, machine_stays: bool) -> Ending:
    """What a run can save in `left_s` seconds; None: nobody hurries, and all of it is saved.

    Where the machine stays, a seal on its disk is enough, and sending may go on as long as it is let. Where it goes away, what is not in the store is
    lost with it: the full checkpoint if it gets there, else the weights if they do. If neither does, the full one is sealed here when there is time,
    for disks that survive, but not sent: what is being sent already is the newest checkpoint that can still arrive.
    """
    if left_s is None:
        return Ending(what="full", seconds=speeds.sealed_s(sizes.full))
    usable = usable_s(left_s)
    sealed = speeds.sealed_s(sizes.full)
    if machine_stays or speeds.send is None:
        plans = [Ending(what="full", seconds=sealed), Ending(what="weights", seconds=speeds.sealed_s(sizes.weights))]
    else:
        plans = [
            Ending(what="full", seconds=speeds.sent_s(sizes.full)),
            Ending(what="weights", seconds=speeds.sent_s(sizes.weights)),
            Ending(what="full", seconds=sealed, sends=False),
        ]
    if sizes.weights >= sizes.full:
        plans = [plan for plan in plans if plan.what != "weights"]
    return next((plan for plan in plans if plan.seconds < usable), Ending(what="keep", sends=False))
