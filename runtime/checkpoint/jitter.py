"""A random part of a wait, so that many clients do not come back at the same moment; never drawn from the generator that training draws from."""

from __future__ import annotations

import random
import sys

from tenacity import RetryCallState
from tenacity.wait import wait_base


class _OwnRandom(random.SystemRandom):
    """The functions of the module `random`, drawing from the operating system, which has no state that could be disturbed."""

    Random = random.Random
    SystemRandom = random.SystemRandom


_RANDOM = _OwnRandom()


class Jitter(wait_base):
    """Between nothing and `most_s` seconds."""

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s

    def __call__(self, retry_state: RetryCallState) -> float:  # noqa: ARG002 - tenacity's signature
        """The seconds to add to a wait."""
        return _RANDOM.uniform(0.0, self.most_s)


def keep_random_state(*packages: str) -> None:
    """Have the loaded modules of `packages` draw from the operating system instead of Python's one generator.

    Libraries of stores draw pauses, boundaries of message parts and the moment at which a token is renewed, in threads and whenever the network wants
    it. A training that is resumed from its random state must draw the same numbers again, however often a request failed.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages and getattr(module, "random", None) is random:
            vars(module)["random"] = _RANDOM
