"""Comet's own settings reach the experiment."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.training import comet
from runtime.training.comet import start_comet

pytestmark = pytest.mark.train


class Settings:
    def __init__(self, *, tags: list[str] | None = None) -> None:
        self.tags = tags


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setitem(
        sys.modules, "comet_ml", SimpleNamespace(ExperimentConfig=Settings, start=lambda experiment_config: calls.append(experiment_config))
    )
    monkeypatch.setattr(comet, "find_spec", lambda name: object())
    return calls


def recipe(**values: Any) -> Any:
    return SimpleNamespace(**{"use_comet": True, "comet_experiment_config": {"tags": ["a"]}} | values)


def test_the_experiment_is_started_with_them(started: list[Any]) -> None:
    start_comet(recipe(use_comet=None))
    start_comet(recipe(comet_experiment_config=None))
    assert started == []
    start_comet(recipe())
    assert started[0].tags == ["a"]


def test_unknown_settings_and_a_missing_package_are_refused(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unexpected keyword argument 'tagz'"):
        start_comet(recipe(comet_experiment_config={"tagz": 1}))
    monkeypatch.setattr(comet, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="comet_ml is not installed"):
        start_comet(recipe())
    assert started == []
