"""A recipe file, rendered when it is a template, and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.extends import KEY
from runtime.config.problem import UserError

if TYPE_CHECKING:
    from runtime.config.document import Document
    from runtime.config.load import Checked
    from runtime.config.schema import TrainingConfig


# Cheap to look for, so that a recipe that extends nothing is read once.
_EXTENDS = re.compile(rf"^['\"]?{KEY}['\"]?\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One recipe: the file it came from, its plain YAML text without what it extends, and what checking found of all."""

    path: Path
    text: str
    checked: Checked


def load_recipe(
    path: Path,
    *,
    sets: Sequence[str] = (),
    variables: Mapping[str, Any] | None = None,
    target: Mapping[str, Any] | None = None,
    templates: Path | None = None,
) -> Recipe:
    """The recipe in file `path` with `sets` (`a.b=c`) laid over it. `variables` and the namespace `gpu` (`target`) fill in a template, which may build on
    others in `templates`, or in the folder that LAUNCHER_TEMPLATES names.

    Problems of the recipe are in `checked`. Raises UserError when the file cannot be read or its template cannot be rendered.
    """
    from launcher.recipe.template import is_template, render_template
    from launcher.recipe.template_folders import template_folders
    from runtime.config.load import check_document, check_text, read_text

    text = read_text(path)
    folders = template_folders(templates, environment=os.environ)
    if is_template(path, text):
        text = render_template(text, file=str(path), variables=variables or {}, target=target, folders=folders)
    if not _EXTENDS.search(text):
        return Recipe(path=path, text=text, checked=check_text(text, file=str(path), overrides=sets))
    from runtime.config.document import BrokenYamlError, read

    try:
        document, plugin_folders = _joined(read(text, file=str(path)), variables or {}, target, folders)
    except BrokenYamlError as error:
        raise UserError(error.problem) from None
    return Recipe(path=path, text=text, checked=check_document(document, overrides=sets, plugin_folders=plugin_folders))


def _joined(
    document: Document, variables: Mapping[str, Any], target: Mapping[str, Any] | None, folders: tuple[Path, ...]
) -> tuple[Document, tuple[Path, ...]]:
    """The document with what it extends below it, and the folders that plugins of all of them are looked for in."""
    from launcher.recipe.extending import Surroundings, extended_document
    from runtime.plugins.loading import search_folders

    inside = (Path(document.file).resolve().parent, Path.cwd(), *folders)
    joined, files = extended_document(document, Surroundings(inside=inside, folders=folders, variables=variables, target=target))
    return joined, tuple(folder for file in (document.file, *map(str, files)) for folder in search_folders(file))


def options_of(path: Path | None) -> type[TrainingConfig]:
    """The options that a recipe may have, those of its plugins included; the ones of every recipe when there is no `path`.

    Raises UserError when the file is no YAML, or a plugin of it cannot be loaded; whatever else is wrong with it does not matter.
    """
    from launcher.recipe.template_folders import template_folders
    from runtime.config.document import BrokenYamlError, read
    from runtime.config.extension import extended
    from runtime.config.load import read_text
    from runtime.config.schema import TrainingConfig

    if path is None:
        return TrainingConfig
    try:
        plugin_folders: tuple[Path, ...] = ()
        document = read(read_text(path), file=str(path))
        if document.values.get(KEY) is not None:
            document, plugin_folders = _joined(document, {}, None, template_folders(environment=os.environ))
        model, errors, _ = extended(document, plugin_folders)
    except BrokenYamlError as error:
        raise UserError(error.problem) from None
    if errors:
        raise UserError(errors)
    return model
