"""What an answer of Azure Blob becomes: passing, lasting, somebody else's write, or the user's to mend."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.checkpoint.azure_answer import answered
from runtime.checkpoint.busy import BusyError
from runtime.checkpoint.service import ReplacedError
from runtime.config.problem import UserError
from runtime.config.storage import Address

ADDRESS = Address(kind="az", bucket="c", prefix="p")
SIGNED = "Sun, 22 Nov 2026 20:00:00 GMT"


def error(status: int, code: str = "", *, message: str = "https://x?sig=AbCd", signed: str = "", **headers: str) -> Any:
    request = SimpleNamespace(headers={"x-ms-date": signed} if signed else {})
    return SimpleNamespace(status_code=status, error_code=code, message=message, response=SimpleNamespace(headers=headers, request=request))


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (503, "ServerBusy"),
        (408, ""),
        (409, "ContainerBeingDeleted"),
        (409, "AccountBeingCreated"),
        (409, "PendingCopyOperation"),
        (400, "InvalidBlockList"),
        (400, "Md5Mismatch"),
        (200, ""),
        (0, ""),
    ],
)
def test_what_passes_does(status: int, code: str, reading: bool) -> None:
    assert type(answered(error(status, code), ADDRESS, "p/a", reading=reading)) is ConnectionError


def test_a_pause_that_is_asked_for_is_known() -> None:
    found = answered(error(503, "ServerBusy", **{"Retry-After": "7"}), ADDRESS, "p/a", reading=False)
    assert isinstance(found, BusyError)
    assert found.pause_s == 7.0


@pytest.mark.parametrize(
    ("status", "code", "reading", "replacing", "expected"),
    [
        (412, "ConditionNotMet", False, True, FileExistsError),
        (409, "BlobAlreadyExists", False, False, FileExistsError),
        (412, "ConditionNotMet", True, False, ReplacedError),
        # It was to be replaced, and is gone.
        (404, "BlobNotFound", False, True, FileExistsError),
        (404, "BlobNotFound", True, False, FileNotFoundError),
        # A write needs nothing that could be missing but the container.
        (404, "BlobNotFound", False, False, ConnectionError),
        (404, "ResourceNotFound", False, False, ConnectionError),
    ],
)
def test_what_others_did_is_known(status: int, code: str, reading: bool, replacing: bool, expected: type[Exception]) -> None:
    assert type(answered(error(status, code), ADDRESS, "p/a", reading=reading, replacing=replacing)) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected", "said"),
    [
        (404, "ContainerNotFound", "missing-bucket", "no bucket or container 'c'"),
        (403, "AuthorizationPermissionMismatch", "no-permission", "AuthorizationPermissionMismatch"),
        (403, "UnauthorizedBlobOverwrite", "no-permission", "UnauthorizedBlobOverwrite"),
        (401, "InvalidAuthenticationInfo", "credentials", "does not accept them"),
        (403, "AuthenticationFailed", "credentials", "does not accept them"),
        (409, "SnapshotsPresent", "store-refused", "it has snapshots"),
        (409, "BlobImmutableDueToPolicy", "store-refused", "a policy"),
        (409, "BlobArchived", "store-refused", "archive tier"),
        (412, "LeaseIdMissing", "store-refused", "a lease"),
        (400, "InvalidHeaderValue", "store-refused", "InvalidHeaderValue"),
    ],
)
def test_what_needs_the_user_says_so_and_holds_no_secret(status: int, code: str, expected: str, said: str) -> None:
    found = answered(error(status, code), ADDRESS, "p/a", reading=False)
    assert isinstance(found, UserError)
    assert found.problems[0].code == expected
    assert said in found.problems[0].message
    assert "AbCd" not in str(found)


def test_a_container_without_a_name_of_an_object_is_what_is_missing() -> None:
    found = answered(error(404, "ResourceNotFound"), ADDRESS, "", reading=True)
    assert isinstance(found, UserError)
    assert found.problems[0].code == "missing-bucket"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://x/c?se=2026-11-22T19%3A59%3A59Z&sig=AbCd", "has expired: 2026-11-22 19:59:59"),
        ("https://x/c?se=2026-11-21&sig=AbCd", "has expired: 2026-11-21"),
        ("https://x/c?st=2026-11-22T20%3A00%3A01Z&se=2026-11-23&sig=AbCd", "is not valid yet: 2026-11-22 20:00:01"),
        ("https://x/c?st=2026-11-22T19%3A00%3A01Z&se=2026-11-23&sig=AbCd", "does not accept them"),
        ("https://x/c?se=2026-11-21", "does not accept them"),
        ("https://x/c?se=soon&sig=AbCd", "does not accept them"),
    ],
)
def test_the_times_of_a_token_are_looked_at(url: str, said: str) -> None:
    refused = error(403, "AuthenticationFailed", Date=SIGNED)
    refused.response.request.url = url
    found = answered(refused, ADDRESS, "p/a", reading=True)
    assert isinstance(found, UserError)
    assert found.problems[0].code == "credentials"
    assert said in found.problems[0].message
    assert "AbCd" not in str(found)


@pytest.mark.parametrize(
    ("there", "code", "said"),
    [
        ("Sun, 22 Nov 2026 20:14:59 GMT", "credentials", "does not accept"),
        ("Sun, 22 Nov 2026 20:20:00 GMT", "clock", "1,200 seconds behind"),
        ("Sun, 22 Nov 2026 19:40:00 GMT", "clock", "1,200 seconds ahead of"),
        ("yesterday", "credentials", "does not accept"),
    ],
)
def test_a_wrong_clock_is_told_by_the_two_dates(there: str, code: str, said: str) -> None:
    found = answered(error(403, "AuthenticationFailed", signed=SIGNED, Date=there), ADDRESS, "p/a", reading=True)
    assert isinstance(found, UserError)
    assert found.problems[0].code == code
    assert said in found.problems[0].message
