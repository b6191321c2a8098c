"""Asking a store again when it fails in a way that may pass."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from runtime.checkpoint.busy import AtLeastAsked
from runtime.checkpoint.jitter import Jitter
from runtime.config.problem import ExitCode, Problem, UserError

Result = TypeVar("Result")

ATTEMPTS = 6
_WAIT = wait_exponential(multiplier=0.1, max=10) + Jitter(0.2)
# How soon a pause ends for who is called off.
_SLICE_S = 0.25
# A disk's refusals: trying again changes nothing until the user does something.
_LASTING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    }
)


def _untold(*_news: object) -> None: ...


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a failing store is asked again: six times over some seconds in any case, and as long as `seconds` are not over."""

    seconds: float = 0.0
    on_retry: Callable[[BaseException, float], None] = _untold
    """Hears of every failure and how long it waits now, in whatever thread asks."""
    on_answer: Callable[[], None] = _untold
    """Hears of the answer that came after failures."""
    called_off: Callable[[], bool] = _never
    """Whether nobody wants the answer any more: the next failure, or a pause after one, is the end."""


SHORT = Patience()
"""For who has somebody waiting for the answer."""


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed later without anybody's doing."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | FileExistsError) and error.errno not in _LASTING


def patiently(ask: Callable[[], Result], place: str, patience: Patience = SHORT) -> Result:
    """What `ask` returns, asked again with jitter while it fails in a way that may pass and `patience` lasts.

    Raises UserError `store-unreachable` naming `place` when it kept failing; other errors at once.
    """
    retrying = Retrying(
        stop=lambda state: _is_over(state, patience),
        sleep=lambda seconds: _sleep(seconds, patience.called_off),
        wait=AtLeastAsked(_WAIT),
        retry=retry_if_exception(passes),
        before_sleep=lambda state: patience.on_retry(_error_of(state), state.next_action.sleep if state.next_action else 0.0),
        reraise=True,
    )
    try:
        answer = retrying(ask)
    except OSError as error:
        if not passes(error):
            raise
        raise UserError(
            Problem(
                code="store-unreachable",
                message=f"the store kept failing: {error}",
                place=place,
                fix="check the network and the store, then try again",
            ),
            exit_code=ExitCode.REMOTE_REFUSED,
        ) from error
    if retrying.statistics.get("attempt_number", 1) > 1:
        patience.on_answer()
    return answer


def _is_over(state: RetryCallState, patience: Patience) -> bool:
    return patience.called_off() or (state.attempt_number >= ATTEMPTS and (state.seconds_since_start or 0.0) >= patience.seconds)


def _sleep(seconds: float, called_off: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not called_off():
        time.sleep(min(left, _SLICE_S))


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None
    return error
