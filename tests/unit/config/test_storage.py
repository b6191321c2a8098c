"""Addresses of stores: what is read, what is refused, and that no secret is repeated."""

from __future__ import annotations

import pytest

from runtime.config.load import check_text
from runtime.config.problem import UserError
from runtime.config.secrets import handed_secrets
from runtime.config.storage import Address, parse_address

AZURE = "https://account.blob.core.windows.net"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("/data/x", Address(kind="directory", path="/data/x")),
        ("file:///data/a%20b", Address(kind="directory", path="/data/a b")),
        ("s3://bucket", Address(kind="s3", bucket="bucket")),
        ("S3://my.bucket-1/a/b%20c/", Address(kind="s3", bucket="my.bucket-1", prefix="a/b c")),
        ("s3://bucket/a?endpoint=https://x.r2.cloudflarestorage.com/", Address(kind="s3", bucket="bucket", prefix="a", endpoint="https://x.r2.cloudflarestorage.com")),
        ("s3://bucket?endpoint=http%3A%2F%2Flocalhost%3A8333", Address(kind="s3", bucket="bucket", endpoint="http://localhost:8333")),
        ("gs://bucket/a", Address(kind="gs", bucket="bucket", prefix="a")),
        ("az://container/a", Address(kind="az", bucket="container", prefix="a")),
        ("hf://me/runs", Address(kind="hf", bucket="me/runs")),
        ("hf://me/my.runs-1@try%2F1/a/b%20c", Address(kind="hf", bucket="me/my.runs-1", revision="try/1", prefix="a/b c")),
        (f"{AZURE}/container/a/b", Address(kind="az", bucket="container", prefix="a/b", endpoint=AZURE)),
    ],
)  # fmt: skip
def test_an_address_is_read_and_written_again(url: str, address: Address) -> None:
    assert parse_address(url) == address
    if address.kind != "directory":
        assert parse_address(address.url()) == address
        below = parse_address(address.url("run/ä b#1"))
        assert (below.bucket, below.endpoint) == (address.bucket, address.endpoint)
        assert below.prefix == f"{address.prefix}/run/ä b#1".lstrip("/")


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("s4://bucket", "unknown-name", "file, s3, gs, az and https"),
        ("hf://model", "wrong-type", "OWNER/NAME"),
        ("hf://datasets/me/rows", "wrong-type", "OWNER/NAME"),
        ("hf://me/runs/../x", "wrong-type", "dot part"),
        ("s3:///x", "wrong-type", "no name of a bucket"),
        ("s3://a b/x", "wrong-type", "no name of a bucket"),
        ("s3://bucket/../x", "wrong-type", "dot part"),
        ("s3://bucket/a//b", "wrong-type", "empty part"),
        ("s3://bucket/a?region=x", "wrong-type", "has no 'region'"),
        ("gs://bucket/a?endpoint=http://x", "wrong-type", "has no 'endpoint'"),
        ("s3://bucket/a?endpoint=localhost:9000", "wrong-type", "http://HOST:PORT"),
        ("s3://bucket/a#b", "wrong-type", "#part"),
        ("https://example.org/container", "wrong-type", "Azure Blob"),
        (f"{AZURE}/", "wrong-type", "no name of a bucket"),
        ("s3://KEY:hush@bucket/a", "secret-in-url", "no credentials"),
        (f"{AZURE}/container?sv=1&sig=hush", "secret-in-url", "no credentials"),
    ],
)
def test_what_is_no_address_is_refused(url: str, code: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_address(url)
    problem = caught.value.problems[0]
    assert problem.code == code
    assert words in problem.message
    assert problem.fix
    assert "hush" not in str(caught.value)


def test_a_near_miss_gets_a_suggestion() -> None:
    with pytest.raises(UserError) as caught:
        parse_address("s33://bucket")
    assert caught.value.problems[0].suggestion == "s3://"


def recipe(storage: str) -> str:
    return (
        f"base_model: org/model\nlearning_rate: 0.0001\ndatasets:\n  - {{path: rows.jsonl, type: alpaca}}\nlaunch:\n  storage: {storage}\n"
    )


def test_validate_points_at_the_line_of_a_wrong_address() -> None:
    checked = check_text(recipe("s33://bucket/x"), file="recipe.yml")
    found = [problem for problem in checked.errors if problem.path == "launch.storage"]
    assert [(problem.code, problem.line, problem.suggestion) for problem in found] == [("unknown-name", 6, "s3://")]
    assert not [problem for problem in check_text(recipe("s3://bucket/x"), file="recipe.yml").errors if problem.path == "launch.storage"]


def test_a_process_is_handed_the_keys_of_its_own_store_alone() -> None:
    names = {
        url: handed_secrets(check_text(recipe(url), file="recipe.yml").config)
        for url in ("/data", "s3://bucket", "gs://bucket", "az://container")
    }
    assert names["/data"] == ()
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} <= set(names["s3://bucket"])
    assert names["gs://bucket"] == ("GOOGLE_APPLICATION_CREDENTIALS",)
    assert {"AZURE_STORAGE_KEY", "AZURE_CLIENT_SECRET", "IDENTITY_HEADER"} <= set(names["az://container"])
