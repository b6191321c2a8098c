"""A repository on a Hub of the test's own, and a model to push there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def repository(online: Any) -> Callable[..., Any]:
    """Gives a repository of that Hub, `me/model` unless told otherwise."""
    from runtime.publish.hub.repository import Repository

    def make(**values: Any) -> Repository:
        given = {"id": "tester/model", "option": "hub_model_id", "endpoint": online.endpoint, "token": online.server.token}
        return Repository(**{**given, **values})

    return make


@pytest.fixture
def model(tmp_path: Path) -> dict[str, Path]:
    """Files of a small model, by their names in the repository."""
    folder = tmp_path / "model"
    folder.mkdir()
    contents = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 64, "README.md": b"---\nlicense: mit\n---\n# hi\n"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}
