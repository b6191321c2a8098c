"""The Source Protocol: whoever says that this machine is going away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """What a cloud said. `preempt`: the machine goes at `deadline_at` (Unix seconds). `hint`: it may go soon, and nobody knows when."""

    kind: Literal["preempt", "hint"]
    reason: str
    deadline_at: float | None = None


class CannotHearError(Exception):
    """This machine is of that cloud, but its notices do not reach this process; the message says what to do."""


class Source(Protocol):
    """One cloud's metadata service, as seen from inside a machine. Every method may raise OSError when it is not answered as it should be."""

    name: str
    pause_s: float
    """Seconds between two questions."""

    def is_here(self, timeout_s: float) -> bool:
        """Whether this machine is one of that cloud; no request takes longer than `timeout_s` seconds. Raises TimeoutError when nobody answers in time,
        CannotHearError when it is but cannot be listened to."""
        ...

    def next_sign(self) -> Sign | None:
        """What the cloud says now. May wait for a change for some seconds; each hint is given once."""
        ...
