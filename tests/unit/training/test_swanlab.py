"""SwanLab's callback gets what the recipe says, and what is missing is said before anything is trained."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import ExitCode, UserError
from runtime.training import swanlab
from runtime.training.swanlab import require_swanlab, swanlab_of

OPTIONS = "use_swanlab swanlab_project swanlab_workspace swanlab_experiment_name swanlab_description swanlab_mode swanlab_api_host swanlab_web_host"


def config(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**dict.fromkeys(OPTIONS.split()), **values})


def test_a_recipe_without_it_needs_nothing(tmp_path: Path) -> None:
    require_swanlab(config(), environment={}, home=tmp_path)
    assert swanlab_of(config(), tmp_path) is None


def test_a_missing_package_and_a_missing_key_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swanlab, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install swanlab"):
        require_swanlab(config(use_swanlab=True), environment={}, home=tmp_path)
    monkeypatch.setattr(swanlab, "find_spec", lambda _: object())
    with pytest.raises(UserError, match="SWANLAB_API_KEY") as caught:
        require_swanlab(config(use_swanlab=True, swanlab_mode="cloud"), environment={}, home=tmp_path)
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    require_swanlab(config(use_swanlab=True), environment={"SWANLAB_API_KEY": "x"}, home=tmp_path)
    require_swanlab(config(use_swanlab=True, swanlab_mode="offline"), environment={}, home=tmp_path)
    (tmp_path / ".swanlab").mkdir()
    require_swanlab(config(use_swanlab=True), environment={}, home=tmp_path)


def test_the_callback_gets_what_the_recipe_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("swanlab.integration.transformers")
    module.SwanLabCallback = lambda **settings: settings  # type: ignore[attr-defined]
    for name, stand_in in (
        ("swanlab", ModuleType("swanlab")),
        ("swanlab.integration", ModuleType("swanlab.integration")),
        (module.__name__, module),
    ):
        monkeypatch.setitem(sys.modules, name, stand_in)
    monkeypatch.setenv("SWANLAB_API_HOST", "")
    given = config(
        use_swanlab=True, swanlab_project="p", swanlab_experiment_name="e", swanlab_mode="cloud", swanlab_api_host="https://here"
    )
    assert swanlab_of(given, tmp_path) == {
        "project": "p",
        "workspace": None,
        "experiment_name": "e",
        "description": None,
        "log_dir": str(tmp_path / "swanlog"),
        "mode": "online",
    }
    assert swanlab.os.environ["SWANLAB_API_HOST"] == "https://here"
