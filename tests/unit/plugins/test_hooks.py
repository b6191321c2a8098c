"""Hooks are called in order, with the recipe, and blamed by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import ExitCode, UserError
from runtime.plugins import Plugin
from runtime.plugins.hooks import Hooks, hooks_of
from runtime.plugins.loading import LoadedPlugin
from runtime.plugins.plugin import HOOKS, NOT_CALLED


class Counting(Plugin):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def register(self, cfg: Any) -> None:
        self.told.append(("register", cfg.x))

    def post_model_load(self, cfg: Any, model: Any) -> None:
        self.told.append((cfg.x, model))

    def state_dict(self) -> dict[str, Any]:
        return {"told": len(self.told)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.told = [None] * state["told"]


class Optimizing(Plugin):
    """Makes an optimizer."""

    def create_optimizer(self, cfg: Any, trainer: Any) -> Any:
        return f"optimizer of {trainer}"


class Failing(Plugin):
    """Fails."""

    def post_model_load(self, cfg: Any, model: Any) -> None:
        raise ValueError("no luck")


def loaded(**plugins: Plugin) -> list[LoadedPlugin]:
    return [LoadedPlugin(entry=entry, instance=plugin, arguments=None, root=None, files=()) for entry, plugin in plugins.items()]


CONFIG = SimpleNamespace(x=5, model_fields_set={"learning_rate"})


def test_every_plugin_is_told_with_the_recipe() -> None:
    first, second = Counting(), Counting()
    hooks = Hooks(CONFIG, loaded(a=first, b=second))
    hooks.tell("post_model_load", "model")
    assert first.told == second.told == [(5, "model")]


def test_registering_happens_once_and_first() -> None:
    plugin = Counting()
    kind = type("Config", (), {"loaded_plugins": tuple(loaded(a=plugin)), "held_hooks": None, "x": 1})
    hooks_of(kind()).tell("post_model_load", "m")
    assert hooks_of(kind()) is hooks_of(kind())
    assert plugin.told == [("register", 1), (1, "m")]


def test_a_recipe_without_plugins_has_hooks_that_do_nothing() -> None:
    hooks = hooks_of(SimpleNamespace())
    hooks.tell("post_train", "model")
    assert (hooks.callbacks("add_callbacks_pre_trainer", "m"), hooks.optimizer("t"), hooks.state(), hooks.has("post_train")) == (
        [],
        None,
        {},
        False,
    )


def test_state_goes_to_the_plugin_it_came_from() -> None:
    first, second = Counting(), Counting()
    Hooks(CONFIG, loaded(a=first)).load_state({"a": {"told": 3}, "gone": {}})
    kept = Hooks(CONFIG, loaded(a=first, b=second, c=Plugin())).state()
    assert kept == {"a": {"told": 3}, "b": {"told": 0}}


def test_one_plugin_may_make_the_optimizer_and_the_recipe_must_not_name_another() -> None:
    assert Hooks(CONFIG, loaded(a=Plugin(), b=Optimizing())).optimizer("t") == "optimizer of t"
    with pytest.raises(UserError, match="stands in the place of c"):
        Hooks(CONFIG, loaded(b=Optimizing(), c=Optimizing())).optimizer("t")
    with pytest.raises(UserError, match="`optimizer` of the recipe"):
        Hooks(SimpleNamespace(model_fields_set={"optimizer"}), loaded(b=Optimizing())).optimizer("t")


def test_a_callback_whose_state_would_be_lost_is_refused() -> None:
    class ExportableState:
        pass

    class Stateful(ExportableState):
        pass

    class Giving(Plugin):
        def add_callbacks_pre_trainer(self, cfg: Any, model: Any) -> list[Any]:
            return [Stateful()]

    with pytest.raises(UserError, match="state_dict"):
        Hooks(CONFIG, loaded(a=Giving())).callbacks("add_callbacks_pre_trainer", "m")


def test_a_hook_that_fails_is_named_and_in_debugging_raises_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAUNCHER_DEBUG", raising=False)
    hooks = Hooks(CONFIG, loaded(**{"mine.Failing": Failing()}))
    with pytest.raises(UserError, match=r"post_model_load of mine.Failing fails: ValueError: no luck \(test_hooks.py:\d+\)") as caught:
        hooks.tell("post_model_load", "m")
    assert caught.value.exit_code == ExitCode.TRAINING_FAILED
    monkeypatch.setenv("LAUNCHER_DEBUG", "1")
    with pytest.raises(ValueError, match="no luck"):
        hooks.tell("post_model_load", "m")


def test_no_hook_is_both_called_and_refused() -> None:
    assert not HOOKS & set(NOT_CALLED)
