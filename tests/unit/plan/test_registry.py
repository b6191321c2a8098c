"""Digests of images, asked of a server that speaks as registries do: with tokens, with passwords, with helpers that keep them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from launcher.plan.hub_commits import UnresolvedError
from launcher.plan.registry import Registry, parse_image, pinned_name
from launcher.plan.registry_login import DOCKER_HUB, login_to

DIGEST = "sha256:" + "ab" * 32
MANIFEST = b'{"schemaVersion": 2}'
PLAIN = base64.b64encode(b"me:hunter2").decode()


@dataclass
class Served:
    """A registry with one image, `me/run:v1`. `readers` may read it: `anybody` with a token, `me` by name, `identity` by a token of OAuth, `basic` with a
    password itself. `asked` are the requests it got."""

    readers: set[str] = field(default_factory=lambda: {"anybody"})
    names_digest: bool = True
    manifest: bytes = MANIFEST
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    host: str = ""

    def token_for(self, path: str, authorization: str, form: dict[str, list[str]]) -> str | None:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query) | form
        assert query["service"] == ["here"]
        assert query["scope"] == ["repository:me/run:pull"]
        if form:
            return "for-me" if form["refresh_token"] == ["eternal"] and form["grant_type"] == ["refresh_token"] else None
        if authorization:
            return "for-me" if authorization == f"Basic {PLAIN}" else None
        # As ghcr.io has it: anybody gets a token, which then opens nothing.
        return "for-anybody"

    def admits(self, authorization: str) -> bool:
        known = {"Bearer for-anybody": "anybody", "Bearer for-me": "me", f"Basic {PLAIN}": "basic"}
        return known.get(authorization) in self.readers or ("anybody" in self.readers and authorization == "Bearer for-me")


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def handle_any(self) -> None:
            authorization = self.headers.get("Authorization", "")
            served.asked.append((self.command, self.path, authorization))
            if self.path.startswith("/token"):
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
                token = served.token_for(self.path, authorization, form)
                return self.answer(200 if token else 401, {}, json.dumps({"access_token" if form else "token": token}).encode())
            if not served.admits(authorization):
                wanted = (
                    f'Basic realm="http://{served.host}/"'
                    if "basic" in served.readers
                    else f'Bearer realm="http://{served.host}/token",service="here",scope="repository:me/run:pull"'
                )
                return self.answer(401, {"WWW-Authenticate": wanted})
            if self.path != "/v2/me/run/manifests/v1":
                return self.answer(404, {})
            return self.answer(200, {"Docker-Content-Digest": DIGEST} if served.names_digest else {}, served.manifest)

        do_GET = do_HEAD = do_POST = handle_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    served.host = f"127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has logged in nowhere yet."""
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}


def write(environment: dict[str, str], content: Any, path: str = ".docker/config.json") -> None:
    file = Path(environment["HOME"]) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def helper(environment: dict[str, str], name: str, script: str) -> None:
    """A docker-credential helper that knows what `script`, a shell's, says of the server `$server`."""
    file = Path(environment["HOME"]) / "bin" / f"docker-credential-{name}"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'#!/bin/sh\n[ "$1" = get ] || exit 9\nserver=$(cat)\n{script}\n', encoding="utf-8")
    file.chmod(0o755)


def why(host: str, environment: dict[str, str], image: str = "me/run:v1") -> str:
    with pytest.raises(UnresolvedError) as caught:
        Registry(environment).digest(f"{host}/{image}")
    return str(caught.value)


def test_anybody_is_given_a_token_and_with_it_the_digest(home: dict[str, str]) -> None:
    with serving(Served()) as served:
        assert Registry(home).digest(f"{served.host}/me/run:v1") == DIGEST
        assert [asked[0] for asked in served.asked] == ["HEAD", "GET", "HEAD"]
        assert "no such image" in why(served.host, home, "me/run:v2")
    assert "does not answer" in why(served.host, home)


@pytest.mark.parametrize("content", [MANIFEST, b"<html>moved</html>"])
def test_a_digest_that_is_not_named_is_the_checksum_of_the_manifest(home: dict[str, str], content: bytes) -> None:
    with serving(Served(names_digest=False, manifest=content)) as served:
        if content.startswith(b"{"):
            assert Registry(home).digest(f"{served.host}/me/run:v1") == f"sha256:{hashlib.sha256(content).hexdigest()}"
        else:
            assert "names no digest" in why(served.host, home)


def by_file(environment: dict[str, str], host: str) -> None:
    write(environment, {"auths": {host: {"auth": PLAIN}}})


def by_address(environment: dict[str, str], host: str) -> None:
    write(environment, {"auths": {f"https://{host}/v1/": {"username": "me", "password": "hunter2"}}})


def by_podman(environment: dict[str, str], host: str) -> None:
    write(
        environment,
        {"auths": {host: {"auth": base64.b64encode(b"me:other").decode()}, f"{host}/me": {"auth": PLAIN}}},
        "containers/auth.json",
    )
    environment["XDG_RUNTIME_DIR"] = environment["HOME"]


def by_helper(environment: dict[str, str], host: str) -> None:
    write(environment, {"credHelpers": {host: "cloud"}, "credsStore": "missing"})
    helper(environment, "cloud", f'[ "$server" = {host} ] && echo \'{{"ServerURL": "x", "Username": "me", "Secret": "hunter2"}}\'')


def by_store(environment: dict[str, str], host: str) -> None:
    write(environment, {"auths": {host: {}}, "credsStore": "keys"})
    helper(environment, "keys", f'[ "$server" = {host} ] && echo \'{{"Username": "<token>", "Secret": "eternal"}}\'')


def by_identity(environment: dict[str, str], host: str) -> None:
    write(environment, {"auths": {host: {"auth": base64.b64encode(b"me:").decode(), "identitytoken": "eternal"}}})


def by_skypilot(environment: dict[str, str], host: str) -> None:
    environment |= {"SKYPILOT_DOCKER_SERVER": host, "SKYPILOT_DOCKER_USERNAME": "me", "SKYPILOT_DOCKER_PASSWORD": "hunter2"}


@pytest.mark.parametrize("log_in", [by_file, by_address, by_podman, by_helper, by_store, by_identity, by_skypilot])
def test_a_private_image_is_read_with_the_login_that_is_here(home: dict[str, str], log_in: Callable[[dict[str, str], str], None]) -> None:
    with serving(Served(readers={"me"})) as served:
        assert "wants a login that is not here" in why(served.host, home)
        log_in(home, served.host)
        registry = Registry(home)
        assert registry.digest(f"{served.host}/me/run:v1") == DIGEST
        assert registry.is_private(f"{served.host}/me/run:v1")
        assert "no such image, or none that this login may read" in why(served.host, home, "me/run:v2")


def test_a_registry_may_want_the_password_itself(home: dict[str, str]) -> None:
    with serving(Served(readers={"basic"})) as served:
        by_helper(home, served.host)
        assert Registry(home).digest(f"{served.host}/me/run:v1") == DIGEST


def test_what_anybody_may_read_needs_no_login_that_works(home: dict[str, str]) -> None:
    with serving(Served()) as served:
        write(home, {"auths": {served.host: {"auth": base64.b64encode(b"me:old").decode()}}})
        assert Registry(home).digest(f"{served.host}/me/run:v1") == DIGEST
        write(home, {"credsStore": "desktop"})
        registry = Registry(home)
        assert registry.digest(f"{served.host}/me/run:v1") == DIGEST
        assert not registry.is_private(f"{served.host}/me/run:v1")


def test_why_a_private_image_cannot_be_read_is_told_and_its_password_is_not(home: dict[str, str]) -> None:
    with serving(Served(readers={"me"})) as served:
        write(home, {"auths": {served.host: {"auth": base64.b64encode(b"me:canary").decode()}}})
        assert why(served.host, home) == f"its registry refuses the login of {home['HOME']}/.docker/config.json"
        write(home, {"credHelpers": {served.host: "gone"}})
        assert why(served.host, home) == "its registry wants a login, and docker-credential-gone, which keeps it, is not installed here"
        write(home, {"credHelpers": {served.host: "../../bin/sh"}})
        assert "is not installed here" in why(served.host, home)
        write(home, {"credHelpers": {served.host: "none"}})
        helper(home, "none", "echo 'credentials not found in native keychain'; exit 1")
        assert "wants a login that is not here" in why(served.host, home)
        helper(home, "none", "echo 'the session has ended'; exit 1")
        assert why(served.host, home).endswith("docker-credential-none gives no login: the session has ended")
        helper(home, "none", "echo canary")
        assert "not of the kind docker expects" in why(served.host, home)
        for content in ("{", '{"auths": {"HOST": {"auth": "canary!"}}}'.replace("HOST", served.host)):
            write(home, content)
            assert "cannot be read" in why(served.host, home)
            assert "canary" not in why(served.host, home)


def test_a_password_is_shown_to_its_registry_alone(home: dict[str, str]) -> None:
    with serving(Served(readers={"me"})) as served:
        by_file(home, "other.example")
        home |= {"SKYPILOT_DOCKER_SERVER": "other.example", "SKYPILOT_DOCKER_USERNAME": "me", "SKYPILOT_DOCKER_PASSWORD": "hunter2"}
        assert "wants a login that is not here" in why(served.host, home)
        assert not [asked for asked in served.asked if asked[2].startswith("Basic")]
    assert "hunter2" not in repr(login_to("other.example", "me/run", home))


def test_docker_hub_is_known_by_its_old_address(home: dict[str, str]) -> None:
    write(home, {"auths": {"https://index.docker.io/v1/": {"auth": PLAIN}}})
    found = login_to(DOCKER_HUB, "me/run", home)
    assert found is not None
    assert (found.user, found.password) == ("me", "hunter2")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ubuntu", (DOCKER_HUB, "library/ubuntu", "latest", "")),
        ("pytorch/pytorch:2.13", (DOCKER_HUB, "pytorch/pytorch", "2.13", "")),
        ("docker:docker.io/me/run", (DOCKER_HUB, "me/run", "latest", "")),
        ("localhost:5000/run:a", ("localhost:5000", "run", "a", "")),
        (f"ghcr.io/me/run:v1@{DIGEST}", ("ghcr.io", "me/run", "v1", DIGEST)),
    ],
)
def test_image_names_are_read_as_docker_reads_them(text: str, parts: tuple[str, ...]) -> None:
    name = parse_image(text)
    assert (name.registry, name.repository, name.tag, name.digest) == parts
    assert name.scheme == ("http" if text.startswith("localhost") else "https")
    assert parse_image(pinned_name(text, DIGEST)).digest == DIGEST
