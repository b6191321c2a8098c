"""What Google's libraries raise, as the store's callers know it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.checkpoint.service import ReplacedError
from runtime.config.problem import UserError
from runtime.config.storage import Address

exceptions = pytest.importorskip("google.api_core.exceptions")
pytest.importorskip("google.cloud.storage")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    from runtime.checkpoint.gcs import _Google

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    return _Google(Address(kind="gs", bucket="bucket", prefix="runs"))


def raised(service: Any, error: Exception, *, name: str = "runs/a", reading: bool = False) -> Exception:
    with pytest.raises((OSError, UserError)) as caught, service._explained(name, reading=reading):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("status", "reading", "expected"),
    [
        (412, False, FileExistsError),
        (412, True, ReplacedError),
        (404, True, FileNotFoundError),
        (408, False, ConnectionError),
        (429, True, ConnectionError),
        (500, False, ConnectionError),
        (503, True, ConnectionError),
    ],
)
def test_an_answer_is_told_by_its_number(service: Any, status: int, reading: bool, expected: type[Exception]) -> None:
    assert type(raised(service, exceptions.from_http_status(status, "said"), reading=reading)) is expected


def test_a_write_needs_nothing_but_the_bucket(service: Any) -> None:
    found = raised(service, exceptions.from_http_status(404, "said"))
    assert isinstance(found, UserError)
    assert found.problems[0].code == "missing-bucket"


def test_a_body_that_was_damaged_on_the_way_is_sent_again(service: Any) -> None:
    said = 'POST https://x: Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "BBBBBB==".'
    assert type(raised(service, exceptions.BadRequest(said))) is ConnectionError
    assert isinstance(raised(service, exceptions.BadRequest("Invalid argument.")), UserError)


@pytest.mark.parametrize("status", [200, 201])
def test_what_was_done_and_is_answered_with_nonsense_is_asked_again(service: Any, status: int) -> None:
    from google.cloud.storage.exceptions import InvalidResponse

    answer = SimpleNamespace(status_code=status, headers={})
    assert type(raised(service, InvalidResponse(answer, "no Location"))) is ConnectionError


def test_a_hold_is_told_in_the_stores_words(service: Any) -> None:
    said = "Object 'bucket/runs/a' is under active Temporary hold and cannot be deleted."
    answer = SimpleNamespace(json=lambda: {"error": {"code": 403, "message": said}}, headers={})
    found = raised(service, exceptions.Forbidden("DELETE https://x?upload_id=AbCd: said", response=answer), reading=True)
    assert isinstance(found, UserError)
    assert found.problems[0].code == "no-permission"
    assert said in found.problems[0].message
    assert "AbCd" not in str(found)


def test_a_server_of_tokens_that_restarts_is_waited_for(service: Any) -> None:
    from google.auth.exceptions import RefreshError, TransportError

    assert type(raised(service, RefreshError(TransportError("unreachable")))) is ConnectionError
    assert isinstance(raised(service, RefreshError("invalid_grant")), UserError)


def test_no_message_holds_the_address_of_a_session(service: Any) -> None:
    from requests.exceptions import ConnectionError as NotReached

    said = "Max retries exceeded with url: /upload/b/o?uploadType=resumable&upload_id=AbCd (Caused by 'refused?')"
    found = raised(service, NotReached(said))
    assert type(found) is ConnectionError
    assert "AbCd" not in str(found)
    assert "Caused by 'refused?'" in str(found)
