"""Digests of container images, asked of their registry by its HTTP interface (OCI Distribution 1.1, the manifest's `Docker-Content-Digest`)."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

from launcher.plan.hub_commits import UnresolvedError
from launcher.plan.registry_login import DOCKER_HUB, Login, login_to

_TIMEOUT_S = 10.0
_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Registries take no manifest larger than this (OCI Distribution 1.1: at least 4 MiB are to be taken).
_LARGEST_MANIFEST = 16 << 20
_CLIENT = "finetune-launcher"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageName:
    """A container image as `docker pull` reads it. `tag` is empty for an image named by its digest alone."""

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def scheme(self) -> str:
        """Plain HTTP on this machine alone, as docker has it."""
        host = urllib.parse.urlsplit(f"//{self.registry}").hostname or ""
        return "http" if host == "localhost" or host.startswith("127.") or host == "::1" else "https"


def parse_image(text: str) -> ImageName:
    """The parts of `ghcr.io/owner/name:tag@sha256:…`. A name without a registry is one of Docker Hub, a name without a tag means `latest`."""
    name, _, digest = text.removeprefix("docker:").partition("@")
    head, slash, rest = name.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        head, rest = DOCKER_HUB, name if slash else f"library/{name}"
    if head in ("docker.io", "index.docker.io"):
        head, rest = DOCKER_HUB, rest if "/" in rest else f"library/{rest}"
    repository, _, tag = rest.partition(":")
    return ImageName(registry=head, repository=repository, tag=tag or ("" if digest else "latest"), digest=digest)


def pinned_name(text: str, digest: str) -> str:
    """The image by its digest; its tag stays for people to read."""
    return f"{text.partition('@')[0]}@{digest}"


class Registry:
    """Asks registries, with the login that this machine has to them and without one. `environment` says where logins are kept."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._private: set[str] = set()

    def digest(self, image: str) -> str:
        """The digest of what the image's name means now. Raises UnresolvedError."""
        name = parse_image(image)
        if name.digest:
            return name.digest
        try:
            challenge = self._unnamed(name)
            if isinstance(challenge, str):
                return challenge
            digest, login = self._named(name, challenge)
            if login is not None:
                self._private.add(image)
            return digest
        except urllib.error.HTTPError as error:
            raise UnresolvedError(f"its registry answers {error.code}") from None
        except (OSError, ValueError) as error:
            raise UnresolvedError(f"its registry does not answer ({type(error).__name__})") from error

    def is_private(self, image: str) -> bool:
        """Whether the digest of this image was told to a login alone."""
        return image in self._private

    def _unnamed(self, name: ImageName) -> str | Message:
        """The digest, or what the registry wants to be shown first."""
        try:
            return _digest_of(name, authorization="")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise UnresolvedError("its registry has no such image") from None
            if error.code not in (401, 403):
                raise
            return error.headers

    def _named(self, name: ImageName, challenge: Message) -> tuple[str, Login | None]:
        """The digest, and the login it was told to, None for what anybody may read: that is asked first, as a login may have ended."""
        if (digest := self._as(None, name, challenge)) is not None:
            return digest, None
        where = "" if name.registry == DOCKER_HUB else f" {name.registry}"
        try:
            login = login_to(name.registry, name.repository, self._environment)
        except UnresolvedError as error:
            raise UnresolvedError(f"its registry wants a login, and {error}") from None
        if login is None:
            raise UnresolvedError(f"its registry has no such image, or wants a login that is not here (`docker login{where}`)")
        if (digest := self._as(login, name, challenge)) is None:
            raise UnresolvedError(f"its registry refuses the login of {login.source}")
        return digest, login

    def _as(self, login: Login | None, name: ImageName, challenge: Message) -> str | None:
        """The digest as it is told to `login`; None for a refusal."""
        try:
            authorization = _authorization(name, challenge, login)
            return _digest_of(name, authorization=authorization) if authorization else None
        except urllib.error.HTTPError as error:
            if error.code not in (401, 403, 404):
                raise
            if error.code == 404 and login is not None:
                raise UnresolvedError("its registry has no such image, or none that this login may read") from None
        return None


def _digest_of(name: ImageName, *, authorization: str) -> str:
    """Raises HTTPError, and UnresolvedError for an answer that is no image's."""
    url = f"{name.scheme}://{name.registry}/v2/{name.repository}/manifests/{name.tag}"
    with _open(url, method="HEAD", authorization=authorization) as answer:
        digest = answer.headers.get("Docker-Content-Digest")
    if digest is None:
        # A registry need not name it; it is the checksum of what it gives.
        with _open(url, method="GET", authorization=authorization) as answer:
            content = answer.read(_LARGEST_MANIFEST)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}" if _is_manifest(content) else ""
    if not _DIGEST.fullmatch(digest):
        raise UnresolvedError("its registry names no digest")
    return str(digest)


def _is_manifest(content: bytes) -> bool:
    try:
        return "schemaVersion" in json.loads(content)
    except (ValueError, TypeError):
        return False


def _authorization(name: ImageName, challenge: Message, login: Login | None) -> str:
    """The header that answers the registry's challenge; empty when it cannot be answered so. Raises HTTPError but for refusals."""
    asked = challenge.get("WWW-Authenticate", "")
    told = {key.lower(): value for key, value in re.findall(r'(\w+)="([^"]*)"', asked)}
    if asked.lower().startswith("basic"):
        return login.basic if login is not None and login.user else ""
    realm = told.get("realm", "")
    # A password is shown to nobody in the clear.
    if not asked.lower().startswith("bearer") or urllib.parse.urlsplit(realm).scheme not in ("https", name.scheme):
        return ""
    try:
        token = _token(realm, told.get("service", ""), told.get("scope") or f"repository:{name.repository}:pull", login)
    except urllib.error.HTTPError as error:
        if error.code not in (400, 401, 403, 404):
            raise
        return ""
    return f"Bearer {token}" if token else ""


def _token(realm: str, service: str, scope: str, login: Login | None) -> str:
    """The token that the registry's own service gives for `scope`: to a name, to an identity token, or to anybody."""
    asked = {"scope": scope} | ({"service": service} if service else {})
    if login is not None and login.identity:
        form = asked | {"grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": login.identity}
        request = _open(realm, method="POST", body=urllib.parse.urlencode(form).encode())
    else:
        glue = "&" if urllib.parse.urlsplit(realm).query else "?"
        request = _open(f"{realm}{glue}{urllib.parse.urlencode(asked)}", authorization=login.basic if login is not None else "")
    with request as answer:
        body: Any = json.loads(answer.read(1 << 20))
    token = body.get("token") or body.get("access_token") if isinstance(body, dict) else None
    return str(token or "")


def _open(url: str, *, method: str = "GET", authorization: str = "", body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, data=body, method=method, headers={"Accept": _MANIFESTS, "User-Agent": _CLIENT})  # noqa: S310 - see `scheme`
    if authorization:
        # Not for whoever the registry may send on to.
        request.add_unredirected_header("Authorization", authorization)
    return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
