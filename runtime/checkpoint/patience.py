"""Asking a store again when it fails in a way that may pass."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from runtime.checkpoint.jitter import Jitter
from runtime.config.problem import ExitCode, Problem, UserError

Result = TypeVar("Result")

ATTEMPTS = 6
_WAIT = wait_exponential(multiplier=0.1, max=10) + Jitter(0.2)
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


def passes(error: BaseException) -> bool:
    """Whether the same request may succeed later without anybody's doing."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | FileExistsError) and error.errno not in _LASTING


def patiently(ask: Callable[[], Result], place: str) -> Result:
    """What `ask` returns, asked up to six times over some seconds, with jitter, while it fails in a way that may pass.

    Raises UserError `store-unreachable` naming `place` when it kept failing; other errors at once.
    """
    retrying = Retrying(stop=stop_after_attempt(ATTEMPTS), wait=_WAIT, retry=retry_if_exception(passes), retry_error_callback=_last_outcome)
    try:
        return retrying(ask)
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


def _last_outcome(state: RetryCallState) -> object:
    assert state.outcome is not None
    return state.outcome.result()
