"""Metadata services of three clouds on a loopback address: the real paths, headers and refusals, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

Reply = tuple[int, dict[str, str], bytes]
Handler = BaseHTTPRequestHandler


class Clock:
    """Unix seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Service:
    """A server that gives each request to `reply`, unless a fault waits: `faults` are used up one a request, None for a proper answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.now = Clock().now
        """What the cloud's own clock shows."""
        self.faults: list[Callable[[Handler], None] | None] = []
        self._released = threading.Event()
        service = self

        class _Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append(f"{self.command} {self.path}")
                fault = service.faults.pop(0) if service.faults else None
                if fault is not None:
                    fault(self)
                    return
                status, headers, body = service.reply(self)
                answer(self, status, body, headers)

            do_PUT = do_GET

            def log_message(self, *args: Any) -> None:
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(service.now if timestamp is None else timestamp, usegmt=True)

        class _Server(ThreadingHTTPServer):
            def handle_error(self, *args: Any) -> None:
                """A client that gives up is what some tests are about."""

        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=lambda: self.server.serve_forever(poll_interval=0.01), daemon=True)
        self._thread.start()

    def reply(self, request: Handler) -> Reply:
        """The proper answer."""
        raise NotImplementedError

    def stalls(self, request: Handler) -> None:
        """A fault: no answer before the end of the test."""
        self._released.wait(30)

    def close(self) -> None:
        """Be gone: nobody listens at the address any more."""
        self._released.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def answer(request: Handler, status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None) -> None:
    """Send an answer; a `length` other than the body's makes it a broken one."""
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    request.wfile.write(body)


class Aws(Service):
    """Version 2 of Amazon's service: nothing without a token that is still valid by the service's own clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.tokens: dict[str, float] = {}
        self.action: Any = None
        self.rebalance: Any = None
        self.version_1 = False
        super().__init__()

    def reply(self, request: Handler) -> Reply:
        if request.path == "/latest/api/token":
            lifetime = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            if request.command != "PUT" or not lifetime:
                return 400, {}, b""
            token = f"token-{len(self.tokens)}"
            self.tokens[token] = self.clock() + float(lifetime)
            return 200, {"X-aws-ec2-metadata-token-ttl-seconds": lifetime}, token.encode()
        token = request.headers.get("X-aws-ec2-metadata-token")
        if not (self.version_1 and token is None) and self.tokens.get(token or "", 0.0) <= self.clock():
            return 401, {}, b"<title>401 - Unauthorized</title>"
        found = {
            "/latest/meta-data/spot/instance-action": self.action,
            "/latest/meta-data/events/recommendations/rebalance": self.rebalance,
        }
        if request.path == "/latest/meta-data/":
            return 200, {}, b"ami-id\ninstance-id\ninstance-type"
        content = found.get(request.path)
        if content is None:
            return 404, {}, b"<title>404 - Not Found</title>"
        return 200, {}, content if isinstance(content, bytes) else json.dumps(content).encode()


class Gcp(Service):
    """Google's server: nothing without its header, every answer with its own, and answers that wait for a change."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._values = {"preempted": "FALSE", "maintenance-event": "NONE"}
        self._etags = dict.fromkeys(self._values, 1)
        self.hanging = threading.Event()
        super().__init__()

    def set(self, name: str, value: str) -> None:
        """Change a value; questions that wait for it are answered."""
        with self._changed:
            self._values[name] = value
            self._etags[name] += 1
            self._changed.notify_all()

    def reply(self, request: Handler) -> Reply:
        mark = {"Metadata-Flavor": "Google"}
        if request.headers.get("Metadata-Flavor") != "Google":
            return 403, {}, b""
        split = urlsplit(request.path)
        name, query = split.path.removeprefix("/computeMetadata/v1/instance/"), parse_qs(split.query)
        if name == "":
            return 200, mark, b"attributes/\npreempted\n"
        if name not in self._values:
            return 404, mark, b""
        with self._changed:
            if query.get("wait_for_change") == ["true"]:
                last = query.get("last_etag", [str(self._etags[name])])[0]
                self.hanging.set()
                self._changed.wait_for(lambda: str(self._etags[name]) != last, float(query["timeout_sec"][0]))
            return 200, mark | {"ETag": str(self._etags[name])}, self._values[name].encode()


class Azure(Service):
    """Microsoft's service: nothing without its header and a version."""

    def __init__(self) -> None:
        self.events: Any = []
        self.name = "node-3"
        super().__init__()

    def reply(self, request: Handler) -> Reply:
        split = urlsplit(request.path)
        if request.headers.get("Metadata") != "true" or "api-version" not in parse_qs(split.query):
            return 400, {}, b'{"error": "Bad request"}'
        if split.path == "/metadata/instance/compute":
            return 200, {}, json.dumps({"name": self.name, "azEnvironment": "AzurePublicCloud", "vmId": "1-2"}).encode()
        if split.path == "/metadata/scheduledevents":
            return 200, {}, json.dumps({"DocumentIncarnation": 3, "Events": self.events}).encode()
        return 404, {}, b""


@pytest.fixture
def aws() -> Iterator[Aws]:
    service = Aws()
    yield service
    service.close()


@pytest.fixture
def gcp() -> Iterator[Gcp]:
    service = Gcp()
    yield service
    service.close()


@pytest.fixture
def azure() -> Iterator[Azure]:
    service = Azure()
    yield service
    service.close()


def _status(code: int, **headers: str) -> Callable[[Handler], None]:
    return lambda request: answer(request, code, b"busy", headers)


def _reset(request: Handler) -> None:
    request.connection.close()


# What a service may do instead of answering.
FAULTS: dict[str, Callable[[Handler], None]] = {
    "429": _status(429, **{"Retry-After": "1"}),
    "500": _status(500),
    "503": _status(503),
    "closed": _reset,
    "cut off": lambda request: answer(request, 200, b"{", length=400),
    "no http": lambda request: request.wfile.write(b"\x00\x01\x02\r\n\r\n") and None,
    "endless": lambda request: answer(request, 200, b" " * 400_000),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Callable[[Handler], None]:
    """Each fault in turn."""
    return FAULTS[request.param]


@pytest.fixture
def answers() -> Callable[..., Callable[[Handler], None]]:
    """`answers(503)`: a fault that answers so, whatever is asked."""
    return lambda status, body=b"": lambda request: answer(request, status, body)
