"""The launcher as a wheel made of its own files."""

from __future__ import annotations

import zipfile
from email import message_from_string
from pathlib import Path

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
    assert any(line.startswith("boto3") and "stores" in line for line in metadata.get_all("Requires-Dist"))
