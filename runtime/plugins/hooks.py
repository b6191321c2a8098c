"""Calling the hooks of a recipe's plugins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.plugins.files import plugins_of
from runtime.plugins.loading import LoadedPlugin, said
from runtime.plugins.plugin import Plugin


class Hooks:
    """The hooks of the plugins of one recipe, called in the order of `plugins:`. What a hook raises becomes a UserError that names it."""

    def __init__(self, config: Any = None, plugins: Sequence[LoadedPlugin] = ()) -> None:
        self._config = config
        self._plugins = tuple(plugins)

    def has(self, hook: str) -> bool:
        """Whether any plugin does something at `hook`."""
        return any(getattr(type(plugin.instance), hook) is not getattr(Plugin, hook) for plugin in self._plugins)

    def tell(self, hook: str, *arguments: Any) -> None:
        """Call `hook` of every plugin."""
        for plugin in self._plugins:
            self._call(plugin, hook, *arguments)

    def callbacks(self, hook: str, *arguments: Any) -> list[Any]:
        """The callbacks that `hook` of every plugin gives. Raises UserError for one whose state transformers would keep and not give back here."""
        found = []
        for plugin in self._plugins:
            for callback in self._call(plugin, hook, *arguments) or ():
                if any(kind.__name__ == "ExportableState" for kind in type(callback).__mro__):
                    raise UserError(
                        Problem(
                            code="plugin",
                            path="plugins",
                            message=f"{type(callback).__name__} of {plugin.entry} keeps its state as an ExportableState, which no resumption here gives back",
                            fix="keep it in the plugin: state_dict and load_state_dict",
                        )
                    )
                found.append(callback)
        return found

    def optimizer(self, trainer: Any) -> Any:
        """The optimizer that a plugin makes, None when none does. Raises UserError when the recipe names one as well."""
        return self._in_place_of("optimizer", "create_optimizer", trainer)

    def schedule(self, trainer: Any, optimizer: Any, steps: int) -> Any:
        """The learning-rate schedule that a plugin makes, None when none does. Raises UserError when the recipe names one as well."""
        return self._in_place_of("lr_scheduler", "create_lr_scheduler", trainer, optimizer, steps)

    def _in_place_of(self, option: str, hook: str, *arguments: Any) -> Any:
        answers = [(plugin.entry, answer) for plugin in self._plugins if (answer := self._call(plugin, hook, *arguments)) is not None]
        if not answers:
            return None
        others = [entry for entry, _ in answers[1:]] + [f"`{option}` of the recipe"] * (option in self._config.model_fields_set)
        if others:
            raise UserError(
                Problem(
                    code="conflict",
                    path=option,
                    message=f"{hook} of {answers[0][0]} stands in the place of {others[0]}",
                    fix="keep one of the two",
                )
            )
        return answers[0][1]

    def state(self) -> dict[str, Any]:
        """What the plugins want kept in a checkpoint, by their entries."""
        states = {plugin.entry: self._call(plugin, "state_dict", config=False) for plugin in self._plugins}
        return {entry: state for entry, state in states.items() if state is not None}

    def load_state(self, states: dict[str, Any]) -> None:
        """Give each plugin what it had kept."""
        for plugin in self._plugins:
            if plugin.entry in states:
                self._call(plugin, "load_state_dict", states[plugin.entry], config=False)

    def _call(self, plugin: LoadedPlugin, hook: str, *arguments: Any, config: bool = True) -> Any:
        with _blaming(plugin, hook):
            return getattr(plugin.instance, hook)(*((self._config,) if config else ()), *arguments)


def hooks_of(config: Any) -> Hooks:
    """The hooks of a checked recipe's plugins. The first call in a process registers them."""
    kind = type(config)
    held: Hooks | None = vars(kind).get("held_hooks")
    if held is None:
        plugins = plugins_of(config)
        held = Hooks(config, plugins)
        if plugins:
            kind.held_hooks = held
            held.tell("register")
    return held


@contextmanager
def _blaming(plugin: LoadedPlugin, hook: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if os.environ.get("LAUNCHER_DEBUG") == "1":
            raise
        raise UserError(
            Problem(
                code="plugin-failed",
                path="plugins",
                message=f"{hook} of {plugin.entry} fails: {said(error)}",
                fix="LAUNCHER_DEBUG=1 shows all of it",
            ),
            exit_code=ExitCode.TRAINING_FAILED,
        ) from error
