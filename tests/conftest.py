"""Every test runs in either environment as far as it can: what needs a library that is not there is left out or skipped, and said so."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ["object_servers"]

# No test sees or touches the user's own runs; each worker process has a state folder of its own.
# How long an example takes depends on what else the machine does.
settings.register_profile("anywhere", deadline=None)
settings.load_profile("anywhere")
os.environ["LAUNCHER_STATE_DIR"] = tempfile.mkdtemp(prefix="launcher-state-")
os.environ["LAUNCHER_PRICES"] = str(Path(os.environ["LAUNCHER_STATE_DIR"]) / "prices.json")
os.environ["HF_HUB_OFFLINE"] = "1"
# A test machine may be one of a cloud's; what its metadata service says is no part of a test.
os.environ["LAUNCHER_PREEMPTION"] = "none"

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


@dataclass(frozen=True)
class Hub:
    """A Hub of the test's own: what it holds and is told to do, and where it listens."""

    server: Any
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to talk to it. Xet stays on, as it is for a user."""
        return {"HF_ENDPOINT": self.endpoint, "HF_TOKEN": self.server.token, "HF_HUB_OFFLINE": "0"}


@pytest.fixture(scope="session")
def hub_module(checkout: Path) -> Any:
    """The module of the Hub's stand-in."""
    spec = importlib.util.spec_from_file_location("hub_server", checkout / "tests" / "hub_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hub_server"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hub(hub_module: Any) -> Iterator[Hub]:
    """A fresh one."""
    with hub_module.running() as (server, endpoint):
        yield Hub(server=server, endpoint=endpoint)


@pytest.fixture
def online(hub: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Hub's client in this process talks to the test's Hub, and does not really sleep between its own retries."""
    import time
    from types import SimpleNamespace

    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None, time=time.time))
    monkeypatch.setenv("HF_TOKEN", hub.server.token)
    return hub
