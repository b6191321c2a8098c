"""What a plan fixes beyond its config: commits of models and datasets, the image's digest, local files, the state of git, our version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import launcher
from launcher.plan.fingerprint import DataFile, pin_inputs
from launcher.plan.git_state import GitState, git_state
from launcher.plan.hub_commits import HubCommits, Kind, UnresolvedError
from launcher.plan.registry import Registry, pinned_name
from runtime.config.problem import Problem
from runtime.config.secrets import REGISTRY_LOGIN

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


class Commits(Protocol):
    """Who knows the commits of repositories."""

    def commit(self, kind: Kind, repository: str, revision: str) -> str:
        """The commit that `revision` (empty: the newest) is now. Raises UnresolvedError."""
        ...


class Digests(Protocol):
    """Who knows the digests of images."""

    def digest(self, image: str) -> str:
        """The digest of what the image's name means now. Raises UnresolvedError."""
        ...

    def is_private(self, image: str) -> bool:
        """Whether the digest of this image was told to a login alone."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A name elsewhere, `asked` as the recipe has it, and what it is `fixed` to: a commit or a digest, None with the reason in `why`."""

    option: str
    name: str
    asked: str
    fixed: str | None
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """The pin as JSON."""
        return {"option": self.option, "name": self.name, "asked": self.asked, "fixed": self.fixed, "why": self.why}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """Everything that was fixed. `files` are local inputs besides the data: the model, an adapter, templates."""

    named: tuple[Pin, ...]
    files: tuple[DataFile, ...]
    git: GitState | None
    version: str

    def to_json(self) -> dict[str, Any]:
        """The pins as a plan keeps them."""
        return {
            "named": [pin.to_json() for pin in self.named],
            "files": [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in self.files],
            "git": self.git.to_json() if self.git is not None else None,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinning:
    """How names are looked up. Each is asked for once, however many runs of a sweep share it."""

    commits: Commits
    digests: Digests
    known: dict[tuple[str, str, str], Pin]

    def pinned(self, config: TrainingConfig, *, recipe: Path) -> tuple[TrainingConfig, Pins, list[Problem]]:
        """The config with commits and a digest in the place of names that may come to mean something else, what was fixed, and a warning for what was not."""
        update: dict[str, Any] = {}
        named: list[Pin] = []
        if _is_repository(config.base_model):
            pin = self._commit("base_model", "model", config.base_model, config.revision_of_model or "")
            named.append(pin)
            if pin.fixed is not None:
                update["revision_of_model"] = pin.fixed
        for option in ("datasets", "test_datasets"):
            sources = getattr(config, option) or []
            fixed = [self._source(source, f"{option}[{index}]", named) for index, source in enumerate(sources)]
            if any(new is not old for new, old in zip(fixed, sources, strict=True)):
                update[option] = fixed
        if config.launch.image is not None and config.launch.cloud != "local":
            pin = self._digest(config.launch.image)
            named.append(pin)
            if pin.fixed is not None:
                update["launch"] = config.launch.model_copy(update={"image": pinned_name(config.launch.image, pin.fixed)})
        said = [_unresolved(pin) for pin in named if pin.fixed is None]
        if (
            config.launch.image is not None
            and self.digests.is_private(config.launch.image)
            and not set(REGISTRY_LOGIN) <= set(config.launch.secrets)
        ):
            said.append(_no_login(config.launch.image))
        pins = Pins(named=tuple(named), files=pin_inputs(config), git=git_state(recipe.absolute().parent), version=launcher.__version__)
        return config.model_copy(update=update), pins, said

    def _source(self, source: Any, option: str, named: list[Pin]) -> Any:
        if not _is_repository(source.path) or source.path in _LOADERS:
            return source
        pin = self._commit(option, "dataset", source.path, source.revision or "")
        named.append(pin)
        return source.model_copy(update={"revision": pin.fixed}) if pin.fixed is not None else source

    def _commit(self, option: str, kind: Kind, repository: str, revision: str) -> Pin:
        key = (kind, repository, revision)
        if key not in self.known:
            try:
                self.known[key] = Pin(option=option, name=repository, asked=revision, fixed=self.commits.commit(kind, repository, revision))
            except UnresolvedError as error:
                self.known[key] = Pin(option=option, name=repository, asked=revision, fixed=None, why=str(error))
        return replace(self.known[key], option=option)

    def _digest(self, image: str) -> Pin:
        key = ("image", image, "")
        if key not in self.known:
            try:
                self.known[key] = Pin(option="launch.image", name=image, asked="", fixed=self.digests.digest(image))
            except UnresolvedError as error:
                self.known[key] = Pin(option="launch.image", name=image, asked="", fixed=None, why=str(error))
        return self.known[key]


def pinning_of(environment: Mapping[str, str]) -> Pinning:
    """Looking up at the Hub and at registries."""
    return Pinning(commits=HubCommits(environment), digests=Registry(environment), known={})


# Loaders of `datasets` that a path may name beside `data_files`.
_LOADERS = frozenset({"json", "csv", "parquet", "arrow", "text"})


def _is_repository(name: str | None) -> bool:
    """Whether the name can only be a repository of the Hub: no address, no path, nothing that lies here."""
    if not name or "://" in name or name.startswith((".", "/", "~")) or name.count("/") > 1:
        return False
    return not Path(name).expanduser().exists()


def _no_login(image: str) -> Problem:
    return Problem(
        code="missing-secret",
        path="launch.secrets",
        place="launch.secrets",
        message=f"{image} is private, and the run's machines are given no login to its registry",
        fix=f"export {', '.join(REGISTRY_LOGIN)}, and name all three in launch.secrets",
    )


def _unresolved(pin: Pin) -> Problem:
    what = "digest" if pin.option == "launch.image" else "commit"
    return Problem(
        code="not-pinned",
        path=pin.option,
        place=pin.option,
        message=f"{pin.name} has no fixed {what} in this plan and may change under it: {pin.why}",
        fix="log in to its registry, or write NAME@sha256:…"
        if pin.option == "launch.image"
        else "name a commit as its revision, or plan again where the Hub answers",
    )
