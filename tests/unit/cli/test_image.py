"""`launcher image`: the tool that is there builds from a complete folder, and how it ends is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.cli.app import main

TOOL = """#!/bin/sh
if [ "$1" = build ]; then
  for last; do :; done
  ls "$last" > {seen}
  exit {status}
fi
printf sha256:abc > "$3"
echo pushing
"""


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a podman that notes what it is to build from."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def run(folder: Path, *words: str, status: int = 0) -> int:
    (folder / "podman").write_text(TOOL.format(seen=folder / "seen", status=status))
    (folder / "podman").chmod(0o755)
    with pytest.raises(SystemExit) as ended:
        main(["image", *words, "--builder", "podman"])
    return int(ended.value.code or 0)


def test_it_builds_from_the_lock_and_a_wheel_of_itself(podman: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(podman, "build", "--cpu", "--json") == 0
    seen = (podman / "seen").read_text().split()
    assert {"Dockerfile", "entrypoint.sh", "requirements-train.txt"} < set(seen)
    assert any(name.endswith(".whl") for name in seen)
    data = json.loads(capfd.readouterr().out)["data"]
    assert data["builder"] == "podman"
    assert data["image"].endswith("-cpu")


def test_what_was_pushed_is_named_by_its_digest(podman: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(podman, "push", "--tag", "r.io/me/image:1") == 0
    assert "image: r.io/me/image:1@sha256:abc" in capfd.readouterr().out


def test_a_build_that_fails_says_with_what(podman: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(podman, "build", status=125) == 2
    assert "`podman build` ended with status 125" in capfd.readouterr().err


def test_what_is_only_shown_needs_no_tool(podman: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["image", "build", "--builder", "podman", "--dry-run"])
    assert ended.value.code == 0
    assert capfd.readouterr().out.startswith("podman build ")


def test_a_dry_run_builds_nothing(podman: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(podman, "build", "--base", "my base:1", "--dry-run") == 0
    assert "'BASE=my base:1'" in capfd.readouterr().out
    assert not (podman / "seen").exists()
    assert run(podman, "push", "--tag", "r.io/a:1", "--dry-run", "--json") == 0
    assert json.loads(capfd.readouterr().out)["data"]["command"][:2] == ["podman", "push"]
