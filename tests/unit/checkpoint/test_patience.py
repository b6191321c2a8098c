"""A store that fails is asked again as long as one has patience, and not by who has none left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from tenacity import wait_fixed, wait_none

from runtime.checkpoint import patience
from runtime.checkpoint.busy import LONGEST_PAUSE_S, BusyError, asked_pause_s, unavailable
from runtime.checkpoint.patience import ATTEMPTS, Patience, patiently
from runtime.config.problem import ExitCode, UserError


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_WAIT", wait_none())


def failing(times: int, error: Exception | None = None) -> Callable[[], int]:
    """A question that fails so many times; its answer is how often it was asked."""
    asked = 0

    def ask() -> int:
        nonlocal asked
        asked += 1
        if asked <= times:
            raise error or ConnectionError("no route to host")
        return asked

    return ask


def test_a_short_patience_asks_a_few_times() -> None:
    assert patiently(failing(ATTEMPTS - 1), "s3://x") == ATTEMPTS
    with pytest.raises(UserError, match="no route to host") as caught:
        patiently(failing(ATTEMPTS), "s3://x")
    assert (caught.value.problems[0].code, caught.value.exit_code) == ("store-unreachable", ExitCode.REMOTE_REFUSED)


def test_a_long_patience_lasts_and_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_WAIT", wait_fixed(0.001))
    told: list[str] = []
    given = Patience(
        seconds=60, on_retry=lambda error, wait_s: told.append(f"{error}, {wait_s}"), on_answer=lambda: told.append("answered")
    )
    assert patiently(failing(ATTEMPTS * 3), "s3://x", given) == ATTEMPTS * 3 + 1
    assert told == ["no route to host, 0.001"] * ATTEMPTS * 3 + ["answered"]


def test_an_answer_at_once_is_no_news() -> None:
    told: list[str] = []
    assert patiently(failing(0), "s3://x", Patience(seconds=60, on_answer=lambda: told.append("answered"))) == 1
    assert told == []


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), UserError(()), ValueError("no")])
def test_what_does_not_pass_is_not_asked_again(error: Exception) -> None:
    ask = failing(1, error)
    with pytest.raises(type(error)):
        patiently(ask, "s3://x", Patience(seconds=60))
    assert ask() == 2


def test_who_is_called_off_waits_no_more() -> None:
    over = threading.Event()
    threading.Timer(0.05, over.set).start()
    began = time.monotonic()
    with pytest.raises(UserError, match="kept failing"):
        patiently(failing(9, BusyError("slow down", 600.0)), "s3://x", Patience(seconds=600, called_off=over.is_set))
    assert time.monotonic() - began < 60


def test_the_pause_that_a_store_asks_for_is_kept() -> None:
    pauses: list[float] = []
    patiently(failing(1, BusyError("slow down", 0.2)), "s3://x", Patience(on_retry=lambda _error, wait_s: pauses.append(wait_s)))
    assert pauses == [0.2]


@pytest.mark.parametrize(
    ("headers", "pause_s"),
    [
        ({}, 0.0),
        ({"Retry-After": "7"}, 7.0),
        ({"RETRY-AFTER": " 0.5 "}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after": "inf"}, 0.0),
        ({"retry-after": "86400"}, LONGEST_PAUSE_S),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:00 GMT", "date": "Tue, 14 Nov 2023 22:13:20 GMT"}, 40.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:00 GMT", "date": "Tue, 14 Nov 2023 22:15:00 GMT"}, 0.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:14:00 GMT"}, 0.0),
        ({"RateLimit": '"api";r=0;t=55', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}, 55.0),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "7"}, 7.0),
        ({"RateLimit": '"api";r=12;t=55'}, 0.0),
        ({"RateLimit": "none"}, 0.0),
    ],
)
def test_the_words_of_a_store_that_asks_for_a_pause(headers: dict[str, str], pause_s: float) -> None:
    assert asked_pause_s(headers) == pause_s
    assert isinstance(unavailable("503", headers), BusyError) is (pause_s > 0)
