"""Asking the Hub again when it fails in a way that may pass, and saying what it answered without giving anything away."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception

from runtime.checkpoint.busy import asked_pause_s
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.publish.hub.repository import Repository

Result = TypeVar("Result")

# The attempt, from 1, whose failure is more than a hiccup.
NOTABLE = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
# A Retry-After beyond this is a date far away or a mistake; asking once in ten minutes harms nobody.
_LONGEST_ASKED_S = 600.0
# 412: another commit came first. 409: one is being made right now.
_CONFLICTS = frozenset({409, 412})
_PASSING = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
_REFUSALS = frozenset({401, 402, 403, 404})


class OnRetry(Protocol):
    """Told before each pause."""

    def __call__(self, *, message: str, attempt: int, wait_s: float) -> object:
        """`message` is what the Hub said; attempts count from 1."""
        ...


def ask(
    work: Callable[[], Result],
    repository: Repository,
    *,
    patience_s: float,
    on_retry: OnRetry | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], object] = time.sleep,
    over_newer: bool = True,
) -> Result:
    """What `work` returns, asked again with growing pauses, or those the Hub asks for, while it fails in a way that may pass.

    A commit that came first is no failure: the work is done again at once, over that commit; without `over_newer`, the client's error tells it. Raises UserError (exit 8) when the Hub refuses, when it cannot be reached for
    `patience_s` seconds, or when `cancelled`.
    """

    def tell(state: RetryCallState) -> None:
        if on_retry is not None:
            on_retry(message=said(_error(state), repository), attempt=state.attempt_number, wait_s=round(state.upcoming_sleep, 1))

    retrying = Retrying(
        retry=retry_if_exception(lambda error: passes(error, repository) and (over_newer or status_of(error) not in _CONFLICTS)),
        wait=_wait,
        stop=lambda state: cancelled() or (state.seconds_since_start or 0.0) + state.upcoming_sleep > patience_s,
        sleep=sleep,
        before_sleep=tell,
        reraise=True,
    )
    try:
        return retrying(work)
    except UserError:
        raise
    except Exception as error:
        if not _is_the_hubs(error) or (status_of(error) in _CONFLICTS and not over_newer):
            raise
        # Not chained: what the client keeps of a request includes its headers.
        raise UserError(problem_of(error, repository), exit_code=ExitCode.REMOTE_REFUSED) from None


def passes(error: BaseException, repository: Repository) -> bool:
    """Whether the same request may succeed later, or over a newer commit, without anybody's doing."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled

    error = cause(error)
    status = status_of(error)
    if status is not None:
        # A signed address of the storage behind the Hub runs out: the next attempt gets a new one.
        return status in _PASSING or (status == 403 and not _from_the_hub(error, repository))
    return _is_the_hubs(error) and not isinstance(error, OfflineModeIsEnabled | LocalTokenNotFoundError | UserError | ValueError)


def problem_of(error: BaseException, repository: Repository) -> Problem:
    """What went wrong, for the user: the Hub refused (`credentials`), cannot be reached (`unreachable`), or took offence (`hub-refused`)."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    error = cause(error)
    status = status_of(error)
    told = Problem(code="hub-refused", path=repository.option, place=repository.url, message=f"the Hub refuses: {said(error, repository)}")
    if isinstance(error, OfflineModeIsEnabled):
        return replace(
            told,
            code="unreachable",
            message="the Hub libraries are told to stay offline",
            fix="unset HF_HUB_OFFLINE, and check the network",
        )
    if status in _REFUSALS:
        fix = "check the name, and that HF_TOKEN is a token with write access to it (https://huggingface.co/settings/tokens)"
        return replace(told, code="credentials", fix=fix)
    if status is None or status in _PASSING:
        fix = "check the network and https://status.huggingface.co; `launcher publish RUN` pushes later"
        return replace(told, code="unreachable", message=f"the Hub kept failing: {said(error, repository)}", fix=fix)
    return replace(told, fix="mend what it names; `launcher publish RUN` pushes again")


def said(error: BaseException | None, repository: Repository) -> str:
    """An error in one line, without the token, without what signs an address."""
    if error is None:
        return ""
    error = cause(error)
    status = status_of(error)
    server = getattr(error, "server_message", None) if status is not None else None
    lines = [line.strip() for line in str(server or error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if status is not None and str(status) not in text:
        text = f"{status}, {text}"
    return redacted(text, repository.token)[:300]


def redacted(text: str, token: str | None) -> str:
    """`text` without `token`, without anything that looks like one, and without the queries of addresses, which may sign."""
    if token:
        text = text.replace(token, "***")
    return re.sub(r"(https?://[^\s'\"?]+)\?[^\s'\"]*", r"\1", re.sub(r"hf_\w{4,}", "***", text))


def cause(error: BaseException) -> BaseException:
    """The client wraps the failure of one file in an error of its own; this is the failure."""
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error


def status_of(error: BaseException) -> int | None:
    """The HTTP status the Hub answered with, None when it did not answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _wait(state: RetryCallState) -> float:
    error = _error(state)
    error = cause(error) if error is not None else None
    asked = asked_pause_s(getattr(getattr(error, "response", None), "headers", None) or {})
    if asked:
        return min(asked, _LONGEST_ASKED_S)
    if error is not None and status_of(error) in _CONFLICTS and state.attempt_number <= 3:
        return 0.0
    # Jitter from a source of its own: the global one belongs to training.
    jitter = secrets.randbelow(1000) / 1000
    return min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(state.attempt_number - 1, 10)) * (0.5 + 0.5 * jitter)


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _is_the_hubs(error: BaseException) -> bool:
    """Whether an error comes from talking to the Hub, by any of the libraries in between, rather than from us."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import LocalTokenNotFoundError

    # Any other OSError is about a file of ours. hf_xet raises RuntimeError, the client ValueError for an answer it cannot use.
    return isinstance(cause(error), HTTPError | ConnectionError | TimeoutError | LocalTokenNotFoundError | RuntimeError | ValueError)


def _from_the_hub(error: BaseException, repository: Repository) -> bool:
    """Whether the Hub itself gave this answer, and not the storage behind it."""
    url = error.response.request.url  # type: ignore[attr-defined]
    return urlsplit(str(url)).hostname == urlsplit(repository.endpoint).hostname
