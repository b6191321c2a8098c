"""How fast this run seals checkpoints and sends them: measured, and before that a cautious prior."""

from __future__ import annotations

from collections import deque
from typing import Any

from runtime.training.deadline import Speeds

# Network disks of rented machines start at 125 MB/s (Amazon's gp3, documentation of 2024), and a seal reads and flushes besides writing.
SEAL_PRIOR_BYTES_PER_S = 100e6
# Half of what one cloud machine reaches to an object store of its region with several connections; far ones are slower.
SEND_PRIOR_BYTES_PER_S = 50e6
# The slowest of so many: a plan for the last seconds must hold on a bad day, and a disk that was slow once an hour ago says little.
REMEMBERED = 3


class Pace:
    """Speeds of the last few seals and uploads, bytes a second."""

    def __init__(self) -> None:
        self.last_sent_s = 0.0
        self._seals: deque[float] = deque(maxlen=REMEMBERED)
        self._sends: deque[float] = deque(maxlen=REMEMBERED)

    def sealed(self, size: int, seconds: float) -> None:
        """`size` bytes were sealed in `seconds`, from the first byte written to the last flushed."""
        if size > 0 and seconds > 0:
            self._seals.append(size / seconds)

    def sent(self, size: int, seconds: float) -> None:
        """`size` bytes were sent in `seconds`."""
        if size > 0 and seconds > 0:
            self._sends.append(size / seconds)
            self.last_sent_s = seconds

    def hear(self, event: dict[str, Any]) -> None:
        """Learn from an event of the run's log: an upload says how much it sent and how long that took."""
        size, seconds = event.get("sent_bytes", event.get("bytes")), event.get("seconds")
        if event.get("kind") == "uploaded" and isinstance(size, int) and isinstance(seconds, int | float):
            self.sent(size, float(seconds))

    def speeds(self, *, stores: bool, unsent: int = 0) -> Speeds:
        """What to plan with; `stores`: there is a store, and `unsent` bytes wait to get there."""
        return Speeds(
            seal=min(self._seals, default=SEAL_PRIOR_BYTES_PER_S),
            send=min(self._sends, default=SEND_PRIOR_BYTES_PER_S) if stores else None,
            unsent=unsent,
        )
