"""What boto3 raises, as the store's callers know it: no connection is asked again, a refusal is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.config.problem import UserError
from runtime.config.storage import Address


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> object:
    pytest.importorskip("boto3")
    pytest.importorskip("awscrt")
    from runtime.checkpoint.s3 import _S3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    return _S3(Address(kind="s3", bucket="bucket", prefix="runs"))


@pytest.mark.parametrize("name", ["EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"])
def test_no_connection_is_no_refusal(service: object, name: str) -> None:
    from botocore import exceptions

    with pytest.raises(ConnectionError), service._explained("a/b"):  # type: ignore[attr-defined]
        raise getattr(exceptions, name)(endpoint_url="http://127.0.0.1:1")


def test_a_refusal_is_one(service: object) -> None:
    from botocore import exceptions

    with pytest.raises(UserError), service._explained("a/b"):  # type: ignore[attr-defined]
        raise exceptions.ParamValidationError(report="a bucket is no path")


def test_a_certificate_that_is_not_trusted_stays_so(service: object) -> None:
    from botocore import exceptions

    with pytest.raises(UserError, match="CERTIFICATE_VERIFY_FAILED"), service._explained("a/b"):  # type: ignore[attr-defined]
        raise exceptions.SSLError(endpoint_url="https://x", error="[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")


@pytest.mark.parametrize(
    "told",
    [
        "2026-11-22T19:55:49.000Z",
        "2026-11-22T19:55:49+00:00",
        "Sun, 22 Nov 2026 19:55:49 GMT",
        "1795377349",
        1795377349,
        "22 November 2026 19:55:49Z",
    ],
)
def test_times_are_understood_however_they_are_written(service: object, told: str | int) -> None:
    from runtime.checkpoint.s3 import _time

    assert service is not None
    assert _time(told).timestamp() == 1795377349


@pytest.mark.parametrize(("status", "code"), [(400, "ExpiredToken"), (403, "InvalidAccessKeyId"), (403, "403"), (400, "400")])
def test_credentials_that_were_renewed_in_their_file_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, code: str
) -> None:
    """Refused, they are what the user has to look at; but not if they have been written anew since, which an answer to HEAD cannot tell."""
    pytest.importorskip("boto3")
    pytest.importorskip("awscrt")
    from botocore.exceptions import ClientError

    from runtime.checkpoint.s3 import _S3

    def write(word: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {word}\naws_secret_access_key = secret\naws_session_token = {word}-token\n")

    def ask() -> None:
        said = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}}}
        with service._explained("a/b"):
            raise ClientError(said, "PutObject")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    write("old")
    service = _S3(Address(kind="s3", bucket="bucket", prefix="runs"))
    with pytest.raises(UserError):
        ask()
    write("new")
    # Also for a second request that was signed with the old ones.
    for _ in range(2):
        with pytest.raises(ConnectionError, match="new credentials"):
            ask()
    signed = service._client.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "a"})
    assert "new-token" in signed
