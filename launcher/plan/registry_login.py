"""The logins to registries of images that this machine has: those of docker, podman and buildah, and the one SkyPilot is given for the run's machines."""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.plan.hub_commits import UnresolvedError
from runtime.config.secrets import REGISTRY_LOGIN

DOCKER_HUB = "registry-1.docker.io"
# A helper of a cloud may ask that cloud for a token first.
_HELPER_TIMEOUT_S = 30.0
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The user name with which helpers, as docker does, mark a secret that is an identity token.
_TOKEN_USER = "<token>"  # noqa: S105 - a user name
# Docker's login stores its own hub under its old address.
_HUB_NAMES = ("index.docker.io", "docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A name and a password, or an identity token of OAuth; `source` says in words where they come from."""

    source: str
    user: str = ""
    password: str = field(default="", repr=False)
    identity: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


def login_to(registry: str, repository: str, environment: Mapping[str, str]) -> Login | None:
    """The login to `registry` for `repository`; None when this machine has none.

    Looked for in SkyPilot's variables, then in the files of docker, podman and buildah: a helper of that registry, the store of all logins, the file itself.
    Raises UnresolvedError when a helper or a file that should have it cannot be read.
    """
    server, user, password = (environment.get(name, "") for name in REGISTRY_LOGIN)
    if user and password and _host(server) in _names(registry):
        return Login(source="SKYPILOT_DOCKER_USERNAME", user=user, password=password)
    for file in _files(environment):
        if file.is_file() and (found := _in_file(file, registry, repository, environment)) is not None:
            return found
    return None


def _files(environment: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environment.get("HOME") or Path.home())
    yield Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"


def _in_file(file: Path, registry: str, repository: str, environment: Mapping[str, str]) -> Login | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnresolvedError(f"{file} cannot be read ({type(error).__name__})") from None
    if not isinstance(content, dict):
        return None
    helpers = _mapping(content.get("credHelpers"))
    for server in _servers(registry):
        if (helper := helpers.get(server) or content.get("credsStore")) and (
            found := _of_helper(str(helper), server, environment)
        ) is not None:
            return found
    logins = _mapping(content.get("auths"))
    # Podman keeps logins of single repositories and of what lies above them; docker those of hosts, with and without a scheme.
    by_place = {_place(str(key)): value for key, value in logins.items()}
    for name in _names(registry):
        parts = [name, *repository.split("/")]
        for length in range(len(parts), 0, -1):
            if (found := _of_entry(by_place.get("/".join(parts[:length])), file)) is not None:
                return found
    return None


def _of_entry(entry: Any, file: Path) -> Login | None:
    entry = _mapping(entry)
    if identity := entry.get("identitytoken"):
        return Login(source=str(file), identity=str(identity))
    user, password = entry.get("username"), entry.get("password")
    if not (user and password):
        try:
            user, _, password = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode("utf-8").partition(":")
        except (binascii.Error, ValueError):
            raise UnresolvedError(f"{file} holds a login that cannot be read") from None
    return Login(source=str(file), user=str(user), password=str(password)) if user and password else None


def _of_helper(name: str, server: str, environment: Mapping[str, str]) -> Login | None:
    """What `docker-credential-NAME get` answers; None when it knows no login to the server."""
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environment.get("PATH")) if _HELPER.fullmatch(name) else None
    if path is None:
        raise UnresolvedError(f"{program}, which keeps it, is not installed here")
    try:
        done = subprocess.run(
            [path, "get"],
            input=server,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise UnresolvedError(f"{program} gives no login ({type(error).__name__})") from None
    said = done.stdout.strip()
    if done.returncode:
        # The words of docker's own helpers, which all others repeat (docker-credential-helpers, credentials/error.go).
        if "credentials not found" in said or "no credentials" in said:
            return None
        raise UnresolvedError(
            f"{program} gives no login: {(said or done.stderr.strip() or f'status {done.returncode}').splitlines()[0][:200]}"
        )
    try:
        told = json.loads(said)
        user, secret = str(told["Username"]), str(told["Secret"])
    except (ValueError, KeyError, TypeError):
        raise UnresolvedError(f"{program} gives no login: its answer is not of the kind docker expects") from None
    return Login(source=program, identity=secret) if user == _TOKEN_USER else Login(source=program, user=user, password=secret)


def _servers(registry: str) -> tuple[str, ...]:
    """The registry as docker names it to its helpers."""
    return ("https://index.docker.io/v1/",) if registry == DOCKER_HUB else (registry,)


def _names(registry: str) -> tuple[str, ...]:
    return _HUB_NAMES if registry == DOCKER_HUB else (registry,)


def _place(key: str) -> str:
    """`https://index.docker.io/v1/` as `index.docker.io`; `quay.io/me/run` as it is."""
    place = key.partition("://")[2] or key
    return re.sub(r"/v[12]/?$", "", place).rstrip("/")


def _host(server: str) -> str:
    return _place(server).partition("/")[0]


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}
