"""The body of an answer arrives whole and in order whatever the connection is like; what is missing is told, and what came before it is kept."""

from __future__ import annotations

import datetime
import ipaddress
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.received import received

CONTENT = random.Random(1).randbytes(300_000)
# Of an answer that breaks off: no whole number of pieces.
SENT = 30_001
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n"
Answer = Callable[[socket.socket], object]
"""Sends what one request is answered; the connection stays when it returns true."""


class Server:
    """Answers request after request as told, and counts the connections."""

    def __init__(self, answers: list[Answer], secure: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self._answers = answers
        self._secure = secure
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while self._answers:
            connection, _ = self._listening.accept()
            self.connections += 1
            if self._secure is not None:
                connection = self._secure.wrap_socket(connection, server_side=True)
            # Who asked may be gone by now.
            with connection, suppress(OSError):
                while self._answers and _request(connection) and self._answers.pop(0)(connection):
                    pass

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()


def _request(connection: socket.socket) -> bool:
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        more = connection.recv(1)
        if not more:
            return False
        got += more
    return True


def whole(connection: socket.socket) -> bool:
    connection.sendall(HEAD % (len(CONTENT), b"") + CONTENT)
    return True


def dribbled(connection: socket.socket) -> bool:
    """In uneven bits, the first together with the head."""
    sent = HEAD % (len(CONTENT), b"") + CONTENT
    at, sizes = 0, random.Random(2)
    while at < len(sent):
        step = sizes.choice([1, 90, 5_000, 60_000])
        connection.sendall(sent[at : at + step])
        at += step
    return True


def last_of_its_connection(connection: socket.socket) -> None:
    connection.sendall(HEAD % (len(CONTENT), b"Connection: close\r\n") + CONTENT)


def chunked(connection: socket.socket) -> bool:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for at in range(0, len(CONTENT), 70_000):
        piece = CONTENT[at : at + 70_000]
        connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.sendall(b"0\r\n\r\n")
    return True


def without_length(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT)


def empty(connection: socket.socket) -> bool:
    connection.sendall(HEAD % (0, b""))
    return True


def with_another(connection: socket.socket) -> bool:
    connection.sendall(HEAD % (len(CONTENT), b"") + CONTENT[:-100])
    # Encrypted together.
    connection.sendall(CONTENT[-100:] + HEAD % (4, b"") + b"evil")
    return True


def cut_off(connection: socket.socket) -> None:
    connection.sendall(HEAD % (len(CONTENT), b"") + CONTENT[:SENT])


def reset(connection: socket.socket) -> None:
    connection.sendall(HEAD % (len(CONTENT), b"") + CONTENT[:SENT])
    # The other side has read all of it before the connection is reset.
    assert connection.recv(1) == b"."
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def stalls(connection: socket.socket) -> None:
    connection.sendall(HEAD % (len(CONTENT), b"") + CONTENT[:SENT])
    # Until the other side has given up.
    connection.settimeout(10)
    while connection.recv(1):
        pass


@contextmanager
def asked(server: Server, pool: Any) -> Iterator[Any]:
    with closing(pool.request("GET", "/", preload_content=False, decode_content=False, retries=False)) as body:
        yield body


def http(server: Server, **more: Any) -> Any:
    import urllib3

    return urllib3.HTTPConnectionPool("127.0.0.1", server.port, timeout=urllib3.Timeout(10), **more)


def joined(body: Any, count: int) -> bytes:
    """What arrives; each piece is taken before the next one takes its memory."""
    pieces = [bytes(piece) for piece in received(body, count)]
    assert all(0 < len(piece) <= max(count, 8192) for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("count", [1_000, 8_192, 131_072, 10_000_000])
@pytest.mark.parametrize("answer", [whole, dribbled, last_of_its_connection, chunked, without_length])
def test_it_arrives_as_it_was_sent(answer: Answer, count: int) -> None:
    with Server([answer]) as server, asked(server, http(server)) as body:
        assert joined(body, count) == CONTENT


def test_the_connection_is_used_again() -> None:
    with Server([whole, empty, dribbled, whole]) as server:
        pool = http(server)
        for expected in (CONTENT, b"", CONTENT, CONTENT):
            with asked(server, pool) as body:
                assert joined(body, 65_536) == expected
        assert server.connections == 1


def test_who_stops_early_leaves_no_rest_for_the_next_answer() -> None:
    with Server([whole, dribbled]) as server:
        pool = http(server)
        with asked(server, pool) as body, closing(received(body, 10_000)) as pieces:
            next(pieces)
        with asked(server, pool) as body:
            assert joined(body, 65_536) == CONTENT
        assert server.connections == 2


@pytest.mark.parametrize("answer", [cut_off, stalls, reset])
def test_what_came_before_a_failure_is_handed_out(answer: Answer) -> None:
    got = bytearray()

    def collect(body: Any) -> None:
        for piece in received(body, 1 if answer is reset else 20_000):
            got.extend(piece)
            if len(got) == SENT:
                body.connection.sock.sendall(b".")

    with Server([answer]) as server, asked(server, http(server)) as body:
        body.connection.sock.settimeout(0.5)
        with pytest.raises(ConnectionError):
            collect(body)
    assert got == CONTENT[:SENT]


def test_encrypted_ones_fill_the_memory_all_the_same(tmp_path: Path) -> None:
    import urllib3

    certificate, key = _certificate(tmp_path)
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(certificate, key)
    with Server([whole, dribbled], secure) as server:
        pool = urllib3.HTTPSConnectionPool("127.0.0.1", server.port, ca_certs=str(certificate), timeout=urllib3.Timeout(10))
        with asked(server, pool) as body:
            sizes = [len(piece) for piece in received(body, 100_000)]
        # What came with the head, then whole memories.
        assert sizes[1:-1] == [100_000] * (len(sizes) - 2)
        assert sum(sizes) == len(CONTENT)
        with asked(server, pool) as body:
            assert joined(body, 100_000) == CONTENT
        assert server.connections == 1


def test_more_than_was_announced_is_not_the_next_answer(tmp_path: Path) -> None:
    import urllib3

    certificate, key = _certificate(tmp_path)
    secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secure.load_cert_chain(certificate, key)
    with Server([with_another, whole], secure) as server:
        pool = urllib3.HTTPSConnectionPool("127.0.0.1", server.port, ca_certs=str(certificate), timeout=urllib3.Timeout(10))
        for _ in range(2):
            with asked(server, pool) as body:
                assert joined(body, 100_000) == CONTENT
        assert server.connections == 2


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    where, secret = folder / "certificate.pem", folder / "key.pem"
    where.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return where, secret
