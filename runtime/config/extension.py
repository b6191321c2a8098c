"""The recipe's model with the options that its plugins add."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict

from runtime.config.document import Document
from runtime.config.plugins import is_shipped, meant
from runtime.config.problem import Problem
from runtime.config.renames import ALIASES, RENAMED
from runtime.config.schema import TrainingConfig
from runtime.config.section import Section
from runtime.config.shape import members

Model = type[TrainingConfig]


def extended(document: Document, folders: Sequence[Path] = ()) -> tuple[Model, list[Problem], list[Problem]]:
    """The model of the document's recipe, what is wrong with its plugins, and what is doubtful.

    The modules that `plugins:` names are imported, and no others: a recipe without plugins of its own costs nothing. They are looked for in
    `folders`, or beside the recipe when there are none.
    """
    entries = document.values.get("plugins")
    entries = entries if isinstance(entries, list) else []
    own = [
        (index, entry)
        for index, entry in enumerate(entries)
        if isinstance(entry, str) and not is_shipped(entry) and entry not in entries[:index]
    ]
    if not own:
        return TrainingConfig, [], []
    from runtime.plugins.loading import LoadedPlugin, PluginError, forget_plugins, load_plugin, search_folders

    errors: list[Problem] = []
    warnings: list[Problem] = []
    loaded: list[LoadedPlugin] = []
    taken: dict[str, str] = {}
    folders = tuple(folders) or search_folders(document.file)
    forget_plugins()
    for index, entry in own:
        path = ("plugins", index)
        try:
            plugin = load_plugin(entry, folders)
            _check_options(plugin.arguments, taken)
        except PluginError as error:
            suggestion = error.suggestion or meant(entry)
            fix = error.fix if error.suggestion or not suggestion else f"did you mean '{suggestion}'?"
            errors.append(document.problem(path, code="plugin", message=error.message, fix=fix, suggestion=suggestion))
            continue
        taken |= dict.fromkeys(plugin.arguments.model_fields if plugin.arguments is not None else (), entry)
        warnings += [
            document.problem(path, code="plugin", message=doubt, fix="Rename it if it is meant as the hook.") for doubt in plugin.doubts
        ]
        loaded.append(plugin)
    return _joined(loaded), errors, warnings


def _joined(loaded: list[Any]) -> Model:
    """TrainingConfig and the plugins' models as one class, checked as strictly as TrainingConfig is."""
    # In this order the recipe's own options come first where all are listed.
    bases = (*(plugin.arguments for plugin in loaded if plugin.arguments is not None), TrainingConfig)
    body = {
        "__module__": __name__,
        "__doc__": TrainingConfig.__doc__,
        "__annotations__": {"loaded_plugins": ClassVar[Any], "held_hooks": ClassVar[Any]},
        "model_config": ConfigDict(**Section.model_config),
        "loaded_plugins": tuple(loaded),
        "held_hooks": None,
    }
    # A class made anew for each recipe, as a `class` statement would make it; the metaclass is pydantic's.
    joined: Model = types.new_class("TrainingConfig", tuple(dict.fromkeys(bases)), exec_body=lambda namespace: namespace.update(body))
    return joined


def _check_options(arguments: type[BaseModel] | None, taken: dict[str, str]) -> None:
    """Raise PluginError for an option that another owner has, or of a type that no recipe can hold."""
    from runtime.plugins.loading import PluginError

    for name, info in arguments.model_fields.items() if arguments is not None else ():
        if name in TrainingConfig.model_fields or name in RENAMED or name in ALIASES:
            raise PluginError(f"its option '{name}' is one of the recipe's already", "Give it a name of its own.")
        if name in taken:
            raise PluginError(f"its option '{name}' is one of {taken[name]} already", "Rename it in one of the two.")
        if info.alias is not None:
            raise PluginError(f"its option '{name}' has an alias", "Name the field as recipes write it.")
        if not _plain(info.annotation):
            raise PluginError(
                f"its option '{name}' has a type that YAML has not",
                "Use str, int, float, bool, list, dict, Literal, or a pydantic model of such; make the rest of it inside a hook.",
            )


def _plain(annotation: Any) -> bool:
    for member in members(annotation):
        origin = get_origin(member)
        if origin in (list, dict, tuple):
            if not all(_plain(inner) for inner in get_args(member) if inner is not Ellipsis):
                return False
        elif isinstance(member, type) and issubclass(member, BaseModel):
            if not all(_plain(info.annotation) for info in member.model_fields.values()):
                return False
        elif origin is not Literal and member not in (str, int, float, bool, list, dict, Any):
            return False
    return True
