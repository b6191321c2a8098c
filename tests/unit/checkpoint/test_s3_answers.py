"""What boto3 raises, as the store's callers know it: no connection is asked again, a refusal is not."""

from __future__ import annotations

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
