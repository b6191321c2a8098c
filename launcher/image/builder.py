"""The tool that builds and pushes images: docker, podman or buildah, whichever is there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runtime.config.problem import Problem, UserError

NAMES = ("docker", "podman", "buildah")
# A host may have capitals, what follows it may not (OCI Distribution 1.1). Nothing in it is an option to a tool.
_TAG = re.compile(r"([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One image to build. `arguments` are those of the Dockerfile; `extra` goes to the tool as it stands."""

    tag: str
    arguments: dict[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Builder:
    """One of `NAMES`, and what it is called with."""

    name: str

    def build(self, image: Build, context: Path) -> list[str]:
        """The command that builds `image` from the folder `context`."""
        command = [self.name, "build", "--file", str(context / "Dockerfile"), "--tag", image.tag]
        if self.name != "docker":
            # Their own format has no health check; only docker keeps layers unasked.
            command += ["--format", "docker", "--layers"]
        for name, value in image.arguments.items():
            command += ["--build-arg", f"{name}={value}"]
        return [*command, *image.extra, str(context)]

    def push(self, tag: str, digest_file: Path) -> list[str]:
        """The command that pushes `tag`; podman and buildah write the digest of what they pushed to `digest_file`."""
        if self.name == "docker":
            return ["docker", "push", tag]
        return [self.name, "push", "--digestfile", str(digest_file), tag, f"docker://{tag}"]

    def digests(self, tag: str) -> list[str] | None:
        """The command that prints the `NAME@sha256:…` under which an image has been pushed, a line each, where pushing did not write it."""
        return ["docker", "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', tag] if self.name == "docker" else None


def find_builder(asked: str | None, which: Callable[[str], str | None] = shutil.which) -> Builder:
    """The tool that was asked for, else the first that is installed. Raises UserError when there is none."""
    if asked is not None and asked not in NAMES:
        raise _refused("unknown-name", f"'{asked}' builds no images here", f"use one of {', '.join(NAMES)}")
    for name in (asked,) if asked else NAMES:
        if which(name):
            return Builder(name)
    raise _refused("missing-tool", f"{asked or 'no tool that builds images'} is not installed", f"install {asked or ' or '.join(NAMES)}")


def check_tag(tag: str, *, pushed: bool = False) -> None:
    """Raise UserError for what no tool takes for an image's name, and for one to be `pushed` that names no registry."""
    if not _TAG.fullmatch(tag):
        raise _refused("usage", f"'{tag}' is no name of an image", "write --tag REGISTRY/NAME:TAG, the name in lower-case letters")
    if pushed and not names_registry(tag):
        fix = "build it as one that does, which takes seconds when it has been built before, and push that: --tag REGISTRY/NAME:TAG"
        raise _refused("usage", f"'{tag}' names no registry and no account to push to", fix)


def names_registry(tag: str) -> bool:
    """Whether the name says where the image belongs: a registry, or an account of Docker Hub."""
    return "/" in tag


def digest_for(tag: str, printed: str) -> str:
    """Of the lines that `Builder.digests` printed the one for `tag`'s own registry; `tag` where there is none."""
    repository = re.sub(r":[^/:]+$", "", tag.partition("@")[0])
    return next((line for line in printed.split() if line.partition("@")[0] in (repository, f"docker.io/{repository}")), tag)


def _refused(code: str, message: str, fix: str) -> UserError:
    return UserError(Problem(code=code, place="launcher image", message=message, fix=fix))
