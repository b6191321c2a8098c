"""Sending one request again when it fails in a way that may pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from runtime.checkpoint.busy import AtLeastAsked, pause_of
from runtime.checkpoint.jitter import Jitter
from runtime.checkpoint.patience import passes
from runtime.checkpoint.service import ReplacedError

Result = TypeVar("Result")

# Of one part: an object of many gigabytes must not be begun again because one of its parts did not arrive.
ATTEMPTS = 4
_WAIT = wait_exponential(multiplier=0.1, max=9) + Jitter(1)
# A store that wants a longer pause is left alone by who can wait for it without holding anything.
_LONGEST_PAUSE_S = 10.0


def again(ask: Callable[[], Result]) -> Result:
    """What one request returns, sent up to four times with pauses between while it fails in a way that may pass; the last failure otherwise.

    The pause is the one that the store asks for, if it asks for one. A long one is not waited for here.
    """
    retrying = Retrying(
        stop=_is_over,
        wait=AtLeastAsked(_WAIT),
        retry=retry_if_exception(lambda error: passes(error) and not isinstance(error, ReplacedError)),
        reraise=True,
    )
    return retrying(ask)


def _is_over(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome is not None else None
    return state.attempt_number >= ATTEMPTS or pause_of(error) > _LONGEST_PAUSE_S
