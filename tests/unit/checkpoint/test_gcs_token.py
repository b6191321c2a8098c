"""A token that cannot be had: for now, or until the user does something."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from runtime.config.problem import UserError
from runtime.config.storage import Address

exceptions = pytest.importorskip("google.auth.exceptions")
ADDRESS = Address(kind="gs", bucket="b")


def unanswered(error: Exception) -> Exception:
    from runtime.checkpoint.gcs_token import unanswered

    return unanswered(error, ADDRESS)


@pytest.mark.parametrize(
    "error",
    [
        # A machine's own server of tokens restarts: the library does not call that one that passes.
        exceptions.RefreshError(exceptions.TransportError("Failed to retrieve", SimpleNamespace(status=503))),
        exceptions.RefreshError(exceptions.TransportError("connection refused")),
        exceptions.TransportError("no route to host"),
        exceptions.RefreshError("internal_failure", {}, retryable=True),
        # A workload's identity, and one account in the place of another.
        exceptions.OAuthError("Error code temporarily_unavailable", "{}"),
        exceptions.OAuthError("<html>", '{"error": {"code": 503, "status": "UNAVAILABLE"}}'),
        exceptions.RefreshError("Unable to acquire impersonated credentials", '{\n "error": {\n "code": 429'),
    ],
)
def test_what_passes_is_asked_again(error: Exception) -> None:
    assert isinstance(unanswered(error), ConnectionError)


@pytest.mark.parametrize(
    "error",
    [
        exceptions.RefreshError(exceptions.TransportError("Failed to retrieve", SimpleNamespace(status=404))),
        exceptions.RefreshError("invalid_grant: Account has been deleted"),
        exceptions.RefreshError("File '/var/run/token' was not found."),
        exceptions.OAuthError("Error code invalid_grant: the token is 500 days old"),
        exceptions.DefaultCredentialsError("Your default credentials were not found.\nTo set up"),
        exceptions.RefreshError(),
    ],
)
def test_what_does_not_pass_is_the_users(error: Exception) -> None:
    found = unanswered(error)
    assert isinstance(found, UserError)
    assert found.problems[0].code == "credentials"
    assert "\n" not in found.problems[0].message


def test_a_key_that_signs_with_a_wrong_clock_is_told_so() -> None:
    found = unanswered(
        exceptions.RefreshError(
            "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."
        )
    )
    assert isinstance(found, UserError)
    assert found.problems[0].code == "clock"
