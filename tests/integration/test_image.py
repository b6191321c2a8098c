"""The CPU variant of the runtime image, built for real with buildah, and the demo trained inside: `make image-test`.

IMAGE_BASE names a Debian or Ubuntu image to build from. Without it that is the Dockerfile's own, or, where debootstrap is installed, a system made on the
spot, so that no registry is asked. Package indexes and folders that pip is configured with here are there while the image is built as well.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

pytestmark = [
    pytest.mark.skipif(not os.environ.get("IMAGE_TESTS"), reason="ten minutes and 5 GB of disk; IMAGE_TESTS=1, or `make image-test`"),
    pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed"),
]

TAG = "localhost/finetune-launcher-test:cpu"
OWN_BASE = "localhost/finetune-launcher-test-base:bookworm"
# Works without privileges that containers of a CI have not, and with the network of this machine.
APART = ("--isolation", "chroot", "--network", "host")


def buildah(*words: str, timeout: float = 300) -> str:
    done = subprocess.run(["buildah", *words], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"buildah {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """The image to build from; None for the Dockerfile's own."""
    if named := os.environ.get("IMAGE_BASE"):
        return named
    if OWN_BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return OWN_BASE
    if shutil.which("debootstrap") is None or os.getuid() != 0:
        return None
    root = tmp_path_factory.mktemp("base") / "root"
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True, stdout=sys.stderr)
    container = buildah("from", "scratch").strip()
    buildah("add", container, str(root), "/")
    buildah("commit", "--rm", container, OWN_BASE)
    shutil.rmtree(root)
    return OWN_BASE


def pip_settings(folder: Path) -> list[str]:
    """Options for buildah with which pip is configured inside as it is here: its settings, and the folders and certificates that they name."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    wanted = {"index-url", "extra-index-url", "find-links", "cert"}
    found: dict[str, str] = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        if (key := name.rpartition(".")[2]) in wanted:
            found[key] = value.strip("'\"")
    if not found:
        return []
    mounts: dict[str, str] = {}
    for words in (found.get(name, "").split() for name in ("index-url", "extra-index-url", "find-links")):
        for word in words:
            parts = urlsplit(word)
            path = Path(url2pathname(parts.path) if parts.scheme == "file" else word)
            if parts.scheme in ("", "file") and path.exists():
                # An index is read by its folder `simple`, and its files lie beside that.
                place = str(path.parent if path.name == "simple" else path)
                mounts[place] = place
    if "cert" in found:
        mounts[found["cert"]] = found["cert"] = str(Path("/etc/pip-certificates.crt"))
    settings = folder / "pip.conf"
    settings.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in found.items()) + "timeout = 180\n")
    mounts[str(settings)] = "/etc/pip.conf"
    return [word for source, target in mounts.items() for word in ("--volume", f"{Path(source).resolve()}:{target}:ro")]


@pytest.fixture(scope="module")
def image(base: str | None, tmp_path_factory: pytest.TempPathFactory) -> str:
    pip = pip_settings(tmp_path_factory.mktemp("pip"))
    command = [sys.executable, "-m", "launcher", "image", "build", "--cpu", "--builder", "buildah", "--tag", TAG]
    command += [*(["--base", base] if base else []), *(["--torch-index", ""] if pip else []), "--", *APART, *pip]
    log = tmp_path_factory.mktemp("build") / "build.log"
    with log.open("wb") as out:
        status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, timeout=3600, check=False).returncode
    assert status == 0, log.read_text(errors="replace")[-4000:]
    return TAG


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    name = buildah("from", "--pull-never", image).strip()
    yield name
    buildah("rm", name)


def test_the_image_says_what_it_is_and_holds_no_secret(image: str) -> None:
    config = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    assert config["Entrypoint"] == ["launcher-entrypoint"]
    assert config["User"] == "1000"
    assert config["Healthcheck"]["Test"] == ["CMD", "launcher-entrypoint", "health"]
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"]
    assert labels["ai.finetune-launcher.torch"].count(".") == 2
    names = {entry.partition("=")[0] for entry in config["Env"]}
    assert not [name for name in names if "TOKEN" in name or "SECRET" in name or "PIP" in name]


def test_the_demo_trains_in_it(container: str, checkout: Path) -> None:
    said = buildah(
        "run", *APART, "--volume", f"{checkout / 'examples'}:/home/launcher/examples:ro", container,
        "launcher-entrypoint", "launcher", "up", "examples/quickstart.yml", "--cloud", "local", "-y", "--set", "max_steps=10", "--name", "in-image",
        timeout=900,
    )  # fmt: skip
    assert "in-image: done" in said
    assert buildah("run", *APART, container, "id", "-un").strip() == "launcher"
    assert "model.safetensors" in buildah("run", *APART, container, "ls", "model-out/in-image/final/merged")


def test_it_works_as_root_and_answers_for_its_health(container: str) -> None:
    buildah("run", *APART, container, "launcher-entrypoint", "health")
    said = buildah(
        "run",
        *APART,
        "--user",
        "0",
        container,
        "launcher-entrypoint",
        "python",
        "-c",
        "import torch, transformers, peft, trl; print('all there')",
    )
    assert "all there" in said
