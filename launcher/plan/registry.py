"""Digests of container images, asked of their registry by its HTTP interface (OCI Distribution 1.1, the manifest's `Docker-Content-Digest`)."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from launcher.plan.hub_commits import UnresolvedError

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
_HUB = "registry-1.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageName:
    """A container image as `docker pull` reads it. `tag` is empty for an image named by its digest alone."""

    registry: str
    repository: str
    tag: str
    digest: str


def parse_image(text: str) -> ImageName:
    """The parts of `ghcr.io/owner/name:tag@sha256:…`. A name without a registry is one of Docker Hub, a name without a tag means `latest`."""
    name, _, digest = text.removeprefix("docker:").partition("@")
    head, slash, rest = name.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        head, rest = _HUB, name if slash else f"library/{name}"
    if head in ("docker.io", "index.docker.io"):
        head, rest = _HUB, rest if "/" in rest else f"library/{rest}"
    repository, _, tag = rest.partition(":")
    return ImageName(registry=head, repository=repository, tag=tag or ("" if digest else "latest"), digest=digest)


def pinned_name(text: str, digest: str) -> str:
    """The image by its digest; its tag stays for people to read."""
    return f"{text.partition('@')[0]}@{digest}"


class Registry:
    """Asks registries that anybody may read. `scheme` is https but for tests."""

    def __init__(self, *, scheme: str = "https") -> None:
        self._scheme = scheme

    def digest(self, image: str) -> str:
        """The digest of what the image's name means now. Raises UnresolvedError."""
        name = parse_image(image)
        if name.digest:
            return name.digest
        url = f"{self._scheme}://{name.registry}/v2/{name.repository}/manifests/{name.tag}"
        try:
            answer = self._head(url, token=None)
            if isinstance(answer, urllib.error.HTTPError):
                answer = self._head(url, token=self._token(answer, name))
            if isinstance(answer, urllib.error.HTTPError):
                raise UnresolvedError("its registry wants a login")
        except urllib.error.HTTPError as error:
            raise UnresolvedError("its registry has no such image" if error.code == 404 else f"its registry answers {error.code}") from None
        except (OSError, ValueError) as error:
            raise UnresolvedError(f"its registry does not answer ({type(error).__name__})") from error
        if not _DIGEST.fullmatch(answer or ""):
            raise UnresolvedError("its registry names no digest")
        return str(answer)

    def _head(self, url: str, *, token: str | None) -> str | urllib.error.HTTPError | None:
        """The digest in the answer; the error itself where a login is asked for. Raises HTTPError for others."""
        headers = {"Accept": _MANIFESTS} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD", headers=headers), timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the scheme is ours
                found: str | None = answer.headers.get("Docker-Content-Digest")
                return found
        except urllib.error.HTTPError as error:
            if error.code not in (401, 403):
                raise
            return error

    def _token(self, refused: urllib.error.HTTPError, name: ImageName) -> str:
        """The token for readers without a name, from where the registry says one is given out. Raises UnresolvedError."""
        challenge = refused.headers.get("WWW-Authenticate", "")
        told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = told.get("realm", "")
        if not challenge.lower().startswith("bearer") or urllib.parse.urlsplit(realm).scheme not in ("https", self._scheme):
            raise UnresolvedError("its registry wants a login")
        query = {"scope": told.get("scope") or f"repository:{name.repository}:pull"} | (
            {"service": told["service"]} if "service" in told else {}
        )
        with urllib.request.urlopen(f"{realm}?{urllib.parse.urlencode(query)}", timeout=_TIMEOUT_S) as answer:  # noqa: S310 - checked above
            body: Any = json.loads(answer.read(1 << 20))
        token = body.get("token") or body.get("access_token") if isinstance(body, dict) else None
        if not token:
            raise UnresolvedError("its registry wants a login")
        return str(token)
