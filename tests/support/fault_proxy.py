"""A proxy between a store's client and a real server that does to their requests what networks, servers and accounts do, on demand or by chance from a seed."""

from __future__ import annotations

import http.client
import itertools
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Dialect = Literal["s3", "gcs", "azure"]
_HOP = frozenset({"connection", "expect", "transfer-encoding", "keep-alive", "content-length"})
# A request that is left without an answer; its client gives up before.
_STALL_S = 30.0


@dataclass(frozen=True)
class Request:
    """One request, as it came in or as it goes on."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    at: float = field(default_factory=time.monotonic, compare=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Reply:
    """One answer. `sent` bytes of the body leave, all by default; then the connection is cut off, or `reset`."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    length: int | None = None
    sent: int | None = None
    reset: bool = False
    slow: bool = False


class Dropped(Exception):
    """The connection ends here, without an answer."""


Forward = Callable[[Request], Reply]
Fault = Callable[[Request, Forward], Reply]
Choose = Callable[[Request], Fault | None]


def _spoilt(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else body


def _with(thing: Reply, **changes: object) -> Reply:
    return Reply(**{**thing.__dict__, **changes})  # type: ignore[arg-type]


def answers(status: int, code: str = "", *, headers: tuple[tuple[str, str], ...] = (), late: bool = False) -> Fault:
    """The proxy's own answer, in whatever dialect; `late`: after the server has done what was asked."""

    def fault(request: Request, forward: Forward) -> Reply:
        if late:
            forward(request)
        body = b"" if request.method == "HEAD" else _error_body(code or "InternalError", status)
        kind = (("Content-Type", "application/json" if "/storage/v1/" in request.path else "application/xml"), ("x-ms-error-code", code))
        return Reply(status, (*headers, *kind), body)

    return fault


def _error_body(code: str, status: int) -> bytes:
    # Both at once would be neither: Google's library reads JSON, and takes anything else for a plain message.
    return f"<?xml version='1.0' encoding='utf-8'?><Error><Code>{code}</Code><Message>{code} ({status})</Message></Error>".encode()


def _reset(_request: Request, _forward: Forward) -> Reply:
    raise Dropped


def _reset_late(request: Request, forward: Forward) -> Reply:
    forward(request)
    raise Dropped


def _stall(_request: Request, _forward: Forward) -> Reply:
    time.sleep(_STALL_S)
    raise Dropped


def _slow(request: Request, forward: Forward) -> Reply:
    time.sleep(0.02)
    return _with(forward(request), slow=True)


def _cut_answer(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return _with(reply, sent=len(reply.body) // 2)


def _reset_answer(request: Request, forward: Forward) -> Reply:
    return _with(_cut_answer(request, forward), reset=True)


def _short_answer(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return reply if request.method == "HEAD" else _with(reply, body=reply.body[: len(reply.body) // 2])


def _wrong_answer(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return _with(reply, body=_spoilt(reply.body)) if request.method == "GET" else reply


def _wrong_body(request: Request, forward: Forward) -> Reply:
    return forward(Request(request.method, request.path, request.headers, _spoilt(request.body)))


def _half_body(request: Request, forward: Forward) -> Reply:
    return forward(Request(request.method, request.path, request.headers, request.body[: len(request.body) // 2]))


FAULTS: dict[str, Fault] = {
    "500": answers(500),
    "503": answers(503, "SlowDown"),
    "429": answers(429, "Throttling", headers=(("Retry-After", "0.01"),)),
    "500 late": answers(500, late=True),
    "reset": _reset,
    "reset late": _reset_late,
    "cut answer": _cut_answer,
    "reset answer": _reset_answer,
    "slow": _slow,
}
"""What passes when the same request is made again."""
SHORT: Fault = _short_answer
"""Half of an answer, whose length is said to be that."""
DAMAGE: dict[str, Fault] = {"wrong answer": _wrong_answer, "wrong body": _wrong_body, "half body": _half_body}
"""What is seen by its checksum alone."""
STALL: Fault = _stall

REFUSALS: dict[Dialect, dict[str, Fault]] = {
    "s3": {
        "credentials": answers(403, "ExpiredToken"),
        "no-permission": answers(403, "AccessDenied"),
        "missing-bucket": answers(404, "NoSuchBucket"),
        "clock": answers(403, "RequestTimeTooSkewed", headers=(("Date", "Mon, 01 Jan 2001 00:00:00 GMT"),)),
    },
    "gcs": {"credentials": answers(401), "no-permission": answers(403), "missing-bucket": answers(404)},
    "azure": {
        "credentials": answers(401, "InvalidAuthenticationInfo"),
        "no-permission": answers(403, "AuthorizationPermissionMismatch"),
        "missing-bucket": answers(404, "ContainerNotFound"),
        "clock": answers(403, "AuthenticationFailed", headers=(("Date", "Mon, 01 Jan 2001 00:00:00 GMT"),)),
    },
}
"""What needs the user, by the code of the problem that it becomes."""


def chance(seed: int, rate: float, faults: Collection[Fault]) -> Choose:
    """One request in `1 / rate` goes wrong, in one of the ways `faults`."""
    dice, lock, ways = random.Random(seed), threading.Lock(), list(faults)

    def choose(_request: Request) -> Fault | None:
        with lock:
            return dice.choice(ways) if dice.random() < rate else None

    return choose


def each_once(fault: Fault) -> Choose:
    """Every request goes wrong when it is made for the first time."""
    seen: set[tuple[str, str]] = set()
    lock = threading.Lock()

    def choose(request: Request) -> Fault | None:
        key = (request.method, request.path)
        with lock:
            fresh = key not in seen
            seen.add(key)
        return fault if fresh else None

    return choose


class Only:
    """Of all requests the one with this number goes wrong, the first is 0; `hit` is that one, once it has come."""

    def __init__(self, at: int, fault: Fault) -> None:
        self.hit: Request | None = None
        self._at, self._fault = at, fault
        self._numbers, self._lock = itertools.count(), threading.Lock()

    def __call__(self, request: Request) -> Fault | None:
        with self._lock:
            if next(self._numbers) != self._at:
                return None
            self.hit = request
            return self._fault


def always(fault: Fault) -> Choose:
    """Nothing works."""
    return lambda _request: fault


def calm(_request: Request) -> Fault | None:
    """Everything works."""
    return None


class FaultProxy:
    """Listens at `url` and passes on to `upstream`, unless `choose` says otherwise; `asked` are the requests that came in."""

    def __init__(self, upstream: str) -> None:
        self.choose: Choose = calm
        self.asked: list[Request] = []
        self._under_way = 0
        self._changed = threading.Condition()
        self._upstream = upstream.rstrip("/")
        parts = urlsplit(upstream)
        self._where = (str(parts.hostname), parts.port or 80)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Else each body waits until its head has been heard of.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                proxy._serve(self)

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

            def log_message(self, *_args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, *_args: object) -> None:
                """A client that has gone is what a proxy of faults is about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.02), daemon=True).start()

    def variables(self, of: dict[str, str]) -> dict[str, str]:
        """A server's variables, with the proxy in its place."""
        return {name: value.replace(self._upstream, self.url) for name, value in of.items()}

    def settle(self) -> None:
        """Wait until nothing is under way: a request arrives also when who made it has died since."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._under_way, 60)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        with self._changed:
            self._under_way += 1
        try:
            self._pass_on(handler)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        request = Request(handler.command, handler.path, tuple(handler.headers.items()), _read_body(handler))
        self.asked.append(request)
        fault = self.choose(request)
        try:
            reply = self._forward(request) if fault is None else fault(request, self._forward)
        except Dropped:
            _end(handler, reset=True)
            return
        except OSError:
            # The server itself is gone.
            _end(handler, reset=True)
            return
        self._answer(handler, reply)

    def _forward(self, request: Request) -> Reply:
        connection = http.client.HTTPConnection(*self._where, timeout=60)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                if name.lower() not in _HOP:
                    connection.putheader(name, value)
            if request.body or request.method in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(request.body)))
            connection.endheaders(request.body)
            response = connection.getresponse()
            body = response.read()
            length = response.getheader("Content-Length")
            headers = tuple(
                (name, value.replace(self._upstream, self.url)) for name, value in response.getheaders() if name.lower() not in _HOP
            )
            return Reply(response.status, headers, body, length=int(length) if request.method == "HEAD" and length else None)
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    @staticmethod
    def _answer(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        handler.send_response_only(reply.status)
        for name, value in reply.headers:
            handler.send_header(name, value)
        if reply.status not in (204, 304):
            handler.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        handler.end_headers()
        if reply.sent is not None:
            handler.wfile.write(reply.body[: reply.sent])
            _end(handler, reset=reply.reset)
        elif reply.slow:
            for start in range(0, len(reply.body), step := max(1, len(reply.body) // 4)):
                handler.wfile.write(reply.body[start : start + step])
                time.sleep(0.005)
        else:
            handler.wfile.write(reply.body)


def _read_body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" in handler.headers.get("Transfer-Encoding", "").lower():
        body = bytearray()
        while size := int(handler.rfile.readline().split(b";")[0], 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        while handler.rfile.readline().strip():
            pass
        return bytes(body)
    return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))


def _end(handler: BaseHTTPRequestHandler, *, reset: bool) -> None:
    handler.close_connection = True
    if reset:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.wfile.flush()
    handler.rfile.close()
    handler.connection.close()


@contextmanager
def proxied(upstream: str) -> Iterator[FaultProxy]:
    """A proxy while a block runs."""
    proxy = FaultProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
