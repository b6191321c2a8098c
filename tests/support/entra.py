"""Entra ID, the endpoints at which machines get tokens of their identity, and a store that takes those tokens: on loopback, as far as Azure's libraries ask."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest

TENANT, CLIENT, SECRET = "00000000-aaaa-bbbb-cccc-000000000001", "00000000-aaaa-bbbb-cccc-000000000002", "canary~client-secret"
OTHER_TENANT = "00000000-aaaa-bbbb-cccc-000000000009"
AUDIENCE = "https://storage.azure.com"
HEADER = "canary-identity-header"

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Entra:
    """What is asked and answered. `refusal` is what the server of tokens says instead of a token, `store` what the store says to who has the newest one."""

    authority: str = ""
    machine: str = ""
    certificate: Path = Path()
    lasts_s: int = 3600
    refusal: Answer | None = None
    store: Answer = (404, {"x-ms-error-code": "BlobNotFound"}, b"")
    challenge: str = ""
    """The tenant that the store asks tokens of."""
    silent: bool = False
    refusals: int = -1
    """How often there is a refusal; for ever by default."""
    arc_key: Path = Path()
    issued: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    """Tokens with which the store was asked."""
    asked: list[str] = field(default_factory=list)
    """The client ids for which tokens were asked for."""

    def principal(self, **changed: str) -> dict[str, str]:
        """What the environment holds for a service principal, its authority and what it must trust."""
        return {
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": SECRET,
            "AZURE_AUTHORITY_HOST": self.authority,
            **changed,
        }

    def token(self, tenant: str = TENANT) -> str:
        """A new token, which the store takes until the next is made."""
        now = int(time.time())
        claims = {"aud": AUDIENCE, "iss": f"https://sts.windows.net/{tenant}/", "tid": tenant, "nbf": now - 60, "iat": now - 60}
        parts = {"alg": "RS256", "typ": "JWT"}, {**claims, "exp": now + 3600, "jti": str(len(self.issued))}, "unchecked"
        token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        self.issued.append(token)
        return token

    def of_authority(self, method: str, path: str, headers: Any, body: str) -> Answer:
        """An answer of the authority, or of the store behind /account."""
        tenant, _, rest = path.lstrip("/").partition("/")
        if tenant == "account":
            return self._of_store(headers)
        if rest == "v2.0/.well-known/openid-configuration":
            if tenant not in (TENANT, OTHER_TENANT):
                return refusal(400, 90002, f"Tenant '{tenant}' not found.")
            at = f"{self.authority}/{tenant}"
            found = {
                "issuer": f"{at}/v2.0",
                "authorization_endpoint": f"{at}/oauth2/v2.0/authorize",
                "token_endpoint": f"{at}/oauth2/v2.0/token",
            }
            return _json(200, found)
        if method != "POST" or rest != "oauth2/v2.0/token":
            return _json(404, {})
        if self.refusal is not None and self._refuses():
            return self.refusal
        form = dict(parse_qsl(body))
        self.asked.append(form["client_id"])
        assert form["grant_type"] == "client_credentials"
        assert form["scope"] == f"{AUDIENCE}/.default"
        if form["client_id"] != CLIENT:
            return refusal(400, 700016, f"Application with identifier '{form['client_id']}' was not found in the directory.")
        if form.get("client_secret") != SECRET and form.get("client_assertion") != "federated":
            return refusal(401, 7000215, f"Invalid client secret provided for app '{CLIENT}'.")
        return _json(200, {"token_type": "Bearer", "expires_in": self.lasts_s, "access_token": self.token(tenant)})

    def of_machine(self, method: str, path: str, headers: Any, body: str) -> Answer:
        """An answer of the endpoint of a virtual machine, of App Service or of Arc."""
        if self.silent:
            time.sleep(5.0)
        url = urlsplit(path)
        query = dict(parse_qsl(url.query))
        if method != "GET" or headers.get("Metadata") != "true" or query.get("resource") != AUDIENCE:
            return _json(400, {"error": "bad_request", "error_description": "Required metadata header not specified"})
        if self.refusal is not None and self._refuses():
            return self.refusal
        self.asked.append(query.get("client_id", ""))
        ends = {"expires_in": str(self.lasts_s), "expires_on": str(int(time.time()) + self.lasts_s), "token_type": "Bearer"}
        match url.path:
            case "/metadata/identity/oauth2/token":
                return _json(200, {"access_token": self.token(), "resource": AUDIENCE, **ends})
            case "/app/token" if headers.get("X-IDENTITY-HEADER") == HEADER:
                return _json(200, {"access_token": self.token(), "resource": AUDIENCE, **ends})
            case "/arc/token" if headers.get("Authorization") == "Basic canary-arc":
                return _json(200, {"access_token": self.token(), "resource": AUDIENCE, **ends})
            case "/arc/token":
                self.arc_key.write_text("canary-arc")
                return 401, {"WWW-Authenticate": f"Basic realm={self.arc_key}"}, b""
        return _json(401, {"statusCode": 401})

    def _refuses(self) -> bool:
        if self.refusals == 0:
            return False
        self.refusals -= 1
        return True

    def _of_store(self, headers: Any) -> Answer:
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        self.used.append(token)
        if self.challenge:
            asks = f"Bearer authorization_uri={self.authority}/{self.challenge}/oauth2/authorize resource_id={AUDIENCE}"
            return 401, {"x-ms-error-code": "InvalidAuthenticationInfo", "WWW-Authenticate": asks}, b""
        if not self.issued or token != self.issued[-1]:
            return 401, {"x-ms-error-code": "InvalidAuthenticationInfo"}, b""
        return self.store


def refusal(status: int, number: int, words: str) -> Answer:
    """What Entra ID says when it gives no token, with the ids that it names."""
    said = f"AADSTS{number}: {words} Trace ID: canary-trace Correlation ID: canary-correlation Timestamp: 2026-11-22 20:00:00Z"
    return _json(status, {"error": "invalid_client", "error_description": said, "error_codes": [number], "trace_id": "canary-trace"})


@contextmanager
def entra(folder: Path) -> Iterator[Entra]:
    """Both servers, while the block runs."""
    certificate, key = write_certificate(folder)
    state = Entra(certificate=certificate)
    with ExitStack() as stack:
        state.authority = stack.enter_context(_served(state.of_authority, certificate, key))
        state.machine = stack.enter_context(_served(state.of_machine))
        yield state


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key, as files."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    # Of two with one name, only the first would be trusted.
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, str(uuid4()))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now - timedelta(hours=1), now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


@contextmanager
def _served(answer: Callable[[str, str, Any, str], Answer], certificate: Path | None = None, key: Path | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            status, headers, content = answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = _do

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Who asked did not wait for the answer."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _json(status: int, content: dict[str, Any]) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()
