"""Who watches a run beside its supervisor, where there is money to lose: a Protocol the supervisor asks between two looks at its child."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`stop`: seal and stop for good. `leave`: the machine is gone in `deadline_s` seconds, and the run goes on elsewhere."""

    kind: Literal["stop", "leave"]
    reason: str
    deadline_s: float = 0.0


class Overseer(Protocol):
    """Asked several times a second; must not wait for anything."""

    def look(self) -> Wish | None:
        """What shall happen to the run now, None for going on."""
        ...
