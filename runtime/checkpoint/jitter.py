"""A random part of a wait, so that many clients do not come back at the same moment."""

from __future__ import annotations

import random

from tenacity import RetryCallState
from tenacity.wait import wait_base

# Of the operating system: a retry in a thread must not move the random state that training draws from.
_RANDOM = random.SystemRandom()


class Jitter(wait_base):
    """Between nothing and `most_s` seconds."""

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s

    def __call__(self, retry_state: RetryCallState) -> float:  # noqa: ARG002 - tenacity's signature
        """The seconds to add to a wait."""
        return _RANDOM.uniform(0.0, self.most_s)
