"""Commits of repositories of the Hugging Face Hub: what a branch, a tag or the newest state is called now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

Kind = Literal["model", "dataset"]
_TIMEOUT_S = 10.0


class UnresolvedError(Exception):
    """A name elsewhere cannot be fixed now; carries why, in a few words."""


class HubCommits:
    """Asks the Hub by its own client; where it cannot be reached, the cache of this machine says what it has of the repository."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def commit(self, kind: Kind, repository: str, revision: str) -> str:
        """The commit that `revision` (empty: the newest) is now. Raises UnresolvedError."""
        try:
            return self._asked(kind, repository, revision)
        except UnresolvedError as error:
            cached = self._cached(kind, repository, revision)
            if cached is None or "no such" in str(error):
                raise
            return cached

    def _asked(self, kind: Kind, repository: str, revision: str) -> str:
        try:
            from huggingface_hub import HfApi
            from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
        except ImportError:
            raise UnresolvedError("huggingface_hub is not installed here") from None
        api = HfApi(endpoint=self._environment.get("HF_ENDPOINT") or None, library_name="finetune-launcher")
        ask = api.model_info if kind == "model" else api.dataset_info
        try:
            found = ask(repository, revision=revision or None, timeout=_TIMEOUT_S).sha
        except RevisionNotFoundError:
            raise UnresolvedError(f"the Hub has no such revision: {revision}") from None
        except RepositoryNotFoundError:
            raise UnresolvedError("the Hub has no such repository, or none that this token may read") from None
        except Exception as error:
            raise UnresolvedError(f"the Hub does not answer ({type(error).__name__})") from error
        if not found:
            raise UnresolvedError("the Hub names no commit")
        return found

    def _cached(self, kind: Kind, repository: str, revision: str) -> str | None:
        """What the cache's own note of a branch says, as an offline run would take it."""
        home = self._environment.get("HF_HOME") or str(
            Path(self._environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
        )
        hub = Path(self._environment.get("HF_HUB_CACHE") or Path(home) / "hub")
        note = hub / f"{kind}s--{repository.replace('/', '--')}" / "refs" / (revision or "main")
        try:
            return note.read_text(encoding="utf-8").strip() or None
        except OSError:
            return None
