"""The state of the git repository that a recipe lies in."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """The commit that is checked out, and whether files below the recipe's folder differ from it, new ones included."""

    commit: str
    dirty: bool

    def to_json(self) -> dict[str, Any]:
        """The state as JSON."""
        return {"commit": self.commit, "dirty": self.dirty}

    def __str__(self) -> str:
        return self.commit[:10] + (" with changes" if self.dirty else "")


def git_state(folder: Path) -> GitState | None:
    """The state of `folder`; None outside a repository, in one without a commit, and where git is missing or does not answer."""
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--", ".")
    if not commit or changed is None:
        return None
    return GitState(commit=commit, dirty=bool(changed))


def _git(folder: Path, *words: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    try:
        # Optional locks: looking must not disturb a git command that works there.
        done = subprocess.run(
            [program, "--no-optional-locks", "-C", str(folder), *words], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
