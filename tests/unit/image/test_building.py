"""The commands that build and push the runtime image, and what it is built from."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from launcher.image.builder import Build, Builder, check_tag, digest_for, find_builder
from launcher.image.context import locked_torch, write_context
from runtime.config.problem import UserError
from runtime.config.resources import data_dir


def test_the_first_tool_that_is_there_builds() -> None:
    assert find_builder(None, {"podman": "/usr/bin/podman", "buildah": "/usr/bin/buildah"}.get).name == "podman"
    assert find_builder("buildah", {"podman": "/usr/bin/podman", "buildah": "/usr/bin/buildah"}.get).name == "buildah"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (None, "install docker or podman or buildah"),
        ("podman", "podman is not installed"),
        ("kaniko", "use one of docker, podman, buildah"),
    ],
)
def test_a_tool_that_is_not_there_is_told(asked: str | None, told: str) -> None:
    with pytest.raises(UserError, match=told):
        find_builder(asked, lambda name: None)


@pytest.mark.parametrize("name", ["docker", "podman", "buildah"])
def test_values_stay_one_word_and_the_health_check_is_kept(name: str, tmp_path: Path) -> None:
    image = Build(tag="r.io/a:1", arguments={"TORCH_INDEX": "", "VERSION": "1; rm -rf $(HOME)"}, extra=("--network", "host"))
    command = Builder(name).build(image, tmp_path)
    assert command[0] == name
    assert command[-1] == str(tmp_path)
    assert "VERSION=1; rm -rf $(HOME)" in command
    assert "TORCH_INDEX=" in command
    assert command[command.index("--network") + 1] == "host"
    assert ("docker" in command[1:]) == (name != "docker"), "podman's and buildah's own format drops the health check"


def test_only_docker_has_to_be_asked_for_the_digest(tmp_path: Path) -> None:
    assert "--digestfile" in Builder("podman").push("r.io/a:1", tmp_path / "digest")
    assert Builder("podman").digests("r.io/a:1") is None
    assert Builder("docker").push("r.io/a:1", tmp_path / "digest") == ["docker", "push", "r.io/a:1"]
    assert "r.io/a:1" in (Builder("docker").digests("r.io/a:1") or ())


def test_the_digest_is_the_one_of_the_registry_that_was_pushed_to() -> None:
    printed = "ghcr.io/me/a@sha256:1\nr.io:5000/a@sha256:2\nme/a@sha256:3\n"
    assert digest_for("r.io:5000/a:1", printed) == "r.io:5000/a@sha256:2"
    assert digest_for("r.io:5000/a", printed) == "r.io:5000/a@sha256:2"
    assert digest_for("me/a:v1", printed) == "me/a@sha256:3"
    assert digest_for("quay.io/me/a:v1", printed) == "quay.io/me/a:v1"


@pytest.mark.parametrize("tag", ["-v", "a b", "a;touch x", "UPPER", "r.io/Me/a", "a:b:c", "", "r.io/a@sha256:1", "--file=/etc/passwd"])
def test_what_is_no_name_of_an_image_reaches_no_tool(tag: str) -> None:
    with pytest.raises(UserError, match="no name of an image"):
        check_tag(tag)


def test_an_image_is_pushed_to_a_registry_that_is_named() -> None:
    for tag in ("ghcr.io/me/run:v1", "localhost:5000/run", "me/run", "Registry.example:5000/a/b/run:V1"):
        check_tag(tag, pushed=True)
    check_tag("finetune-launcher:0.1.0")
    with pytest.raises(UserError, match="names no registry"):
        check_tag("finetune-launcher:0.1.0", pushed=True)


def test_the_folder_has_all_that_the_dockerfile_copies(tmp_path: Path) -> None:
    write_context(tmp_path)
    copied = [
        line.split()[-2] for line in (tmp_path / "Dockerfile").read_text().splitlines() if line.startswith("COPY") and "--from" not in line
    ]
    assert len(copied) == 3
    for pattern in copied:
        assert len(list(tmp_path.glob(pattern))) == 1, pattern
    assert os.access(tmp_path / "entrypoint.sh", os.X_OK)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        assert "launcher/backend/node/health.py" in wheel.namelist()


def test_the_lock_names_one_torch() -> None:
    assert locked_torch().count(".") == 2


@pytest.mark.parametrize(
    ("words", "config", "called"),
    [
        ((), "base_model: x", "python -P -m launcher.backend.node run"),
        ((), "", "launcher --help"),
        (("health",), "", "python -P -m launcher.backend.node health"),
        (("train", "my recipe.yml", "--set", "a=b c"), "", "python -P -m runtime train my recipe.yml --set a=b c"),
        (("bash", "-c", "echo $HOME"), "x", "bash -c echo $HOME"),
    ],
)
def test_the_entry_leads_where_it_should(words: tuple[str, ...], config: str, called: str, tmp_path: Path) -> None:
    for name in ("python", "launcher", "bash"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s" "$(basename "$0") $*"\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "LAUNCHER_CONFIG": config}
    entry = ["/bin/bash", str(data_dir("images") / "entrypoint.sh"), *words]
    done = subprocess.run(entry, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == called
