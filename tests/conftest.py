"""Every test runs in either environment as far as it can: what needs a library that is not there is left out or skipped, and said so."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from pathlib import Path

import pytest

# No test sees or touches the user's own runs; each worker process has a state folder of its own.
os.environ["LAUNCHER_STATE_DIR"] = tempfile.mkdtemp(prefix="launcher-state-")
os.environ["LAUNCHER_PRICES"] = str(Path(os.environ["LAUNCHER_STATE_DIR"]) / "prices.json")
os.environ["HF_HUB_OFFLINE"] = "1"

_NEEDED = {"train": "torch", "cloud": "sky"}
_MISSING = {mark for mark, module in _NEEDED.items() if importlib.util.find_spec(module) is None}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out a test module whose imports would fail: one marked as a whole for a library that is missing."""
    if not _MISSING or collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    marks = "|".join(sorted(_MISSING))
    return (
        re.search(rf"^pytestmark\s*=.*\bmark\.(?:{marks})\b", collection_path.read_text(encoding="utf-8"), re.MULTILINE) is not None or None
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Real training runs start first, so that two workers end together.
    items.sort(key=lambda item: item.path.name not in _LONGEST)
    for item in items:
        for mark in _MISSING:
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"{_NEEDED[mark]} is not installed here"))


_LONGEST = ("test_survives_kills.py", "test_docs_commands.py")


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent
