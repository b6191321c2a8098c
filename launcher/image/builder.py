"""The tool that builds and pushes images: docker, podman or buildah, whichever is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runtime.config.problem import Problem, UserError

NAMES = ("docker", "podman", "buildah")


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

    def digest(self, tag: str) -> list[str] | None:
        """The command that prints `NAME@sha256:…` of a pushed image, where pushing did not write it."""
        return ["docker", "image", "inspect", "--format", "{{index .RepoDigests 0}}", tag] if self.name == "docker" else None


def find_builder(asked: str | None, which: Callable[[str], str | None] = shutil.which) -> Builder:
    """The tool that was asked for, else the first that is installed. Raises UserError when there is none."""
    if asked is not None and asked not in NAMES:
        raise _refused("unknown-name", f"'{asked}' builds no images here", f"use one of {', '.join(NAMES)}")
    for name in (asked,) if asked else NAMES:
        if which(name):
            return Builder(name)
    raise _refused("missing-tool", f"{asked or 'no tool that builds images'} is not installed", f"install {asked or ' or '.join(NAMES)}")


def _refused(code: str, message: str, fix: str) -> UserError:
    return UserError(Problem(code=code, place="launcher image", message=message, fix=fix))
