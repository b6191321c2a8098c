"""The built wheel is complete: code, typing markers, templates and images; installed anywhere, it finds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build", reason="the packaging tools are in the development environment")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(checkout)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("finetune_launcher-*.whl"))


def test_wheel_holds_every_file_of_both_packages_and_of_the_data_folders(wheel: Path, checkout: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    expected = {str(path.relative_to(checkout)) for package in ("launcher", "runtime") for path in _files(checkout / package)}
    expected |= {f"runtime/_data/{path.relative_to(checkout)}" for data in ("templates", "images") for path in _files(checkout / data)}
    assert "launcher/py.typed" in expected
    assert "runtime/_data/images/requirements-train.txt" in expected
    assert expected <= held, f"missing from the wheel: {sorted(expected - held)}"


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    roots = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"launcher", "runtime"}


def test_installed_wheel_finds_its_data_and_its_command(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True
    )
    environment = os.environ | {"PYTHONPATH": str(target)}
    code = (
        "import json, launcher, runtime; from runtime.config.resources import data_dir; "
        "print(json.dumps([launcher.__file__, runtime.__file__, str(data_dir('templates')), str(data_dir('images'))]))"
    )
    shown = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    places = json.loads(shown.stdout)
    assert all(place.startswith(str(target)) for place in places), places
    assert (Path(places[3]) / "requirements-train.txt").is_file()
    help_text = subprocess.run(
        [str(target / "bin" / "launcher"), "--help"], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert "validate" in help_text.stdout


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"]
