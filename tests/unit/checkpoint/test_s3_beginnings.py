"""Answers of S3 that are none, or that do not say what of the object they have: asked again, or told in another way; never taken for content."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from runtime.checkpoint.service import Head
from runtime.config.storage import Address

HEADED = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: "1"\r\n\r\n'
WHOLE = HEADED + b"0123456789"
CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: "1"\r\n\r\na\r\n0123456789\r\n0\r\n\r\n'
PART = b'HTTP/1.1 206 Partial Content\r\nContent-Length: 4\r\nETag: "1"\r\n%s\r\n0123'
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 900\r\n\r\n<Error><Code>Slow"
HEAD = Head(name="a", size=10, version='"1"')


class Answering:
    """A service, and the answers that its server gives, each over a connection of its own."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.service: Any = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection, suppress(OSError):
                got = b""
                while not got.endswith(b"\r\n\r\n"):
                    got += connection.recv(65_536)
                connection.sendall(self.answers.pop(0))


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    pytest.importorskip("boto3")
    pytest.importorskip("awscrt")
    from runtime.checkpoint.s3 import _S3

    made = Answering()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "x")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        made.service = _S3(Address(kind="s3", bucket="bucket", prefix="", endpoint=made.url))
        yield made


@pytest.fixture
def service(answering: Answering) -> Iterator[Callable[..., Any]]:
    """`service(answer, …)`: the service, whose next requests are answered so."""

    def told(*answers: bytes) -> Any:
        answering.answers[:] = answers
        return answering.service

    yield told
    assert not answering.answers


@pytest.mark.parametrize("answer", [CHUNKED, PART % b"", PART % b"Content-Range: bytes 0-3/*\r\n"])
def test_who_does_not_tell_how_large_it_is_is_asked_apart(service: Callable[..., Any], answer: bytes) -> None:
    head, pieces = service(answer, HEADED).begin("a", 4)
    assert (head.size, head.version, pieces) == (10, '"1"', None)


def test_a_whole_object_is_a_beginning(service: Callable[..., Any]) -> None:
    head, pieces = service(WHOLE).begin("a", 20)
    assert (head.size, b"".join(map(bytes, pieces))) == (10, b"0123456789")


def test_the_part_asked_for_is_taken(service: Callable[..., Any]) -> None:
    assert b"".join(map(bytes, service(PART % b"Content-Range: bytes 4-7/10\r\n").get(HEAD, 4, 4))) == b"0123"


def begin(service: Any) -> None:
    service.begin("a", 4)


def middle(service: Any) -> None:
    list(service.get(HEAD, 4, 4))


def head(service: Any) -> None:
    service.head("a")


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (begin, b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        (begin, b"HTTP/1.1 204 No Content\r\n\r\n"),
        (begin, PART % b"Content-Range: bytes 4-7/10\r\n"),
        (begin, REFUSED),
        (middle, b"HTTP/1.1 103 Early Hints\r\n\r\n" + PART % b"Content-Range: bytes 4-7/10\r\n"),
        (middle, WHOLE),
        (middle, PART % b"Content-Range: bytes 0-3/10\r\n"),
        (middle, REFUSED),
        (head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ],
)
def test_what_is_no_answer_is_asked_again(service: Callable[..., Any], ask: Callable[[Any], None], answer: bytes) -> None:
    asked = service(answer)
    with pytest.raises(ConnectionError):
        ask(asked)
