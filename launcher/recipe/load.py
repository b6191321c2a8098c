"""A recipe file, rendered when it is a template, and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.config.load import Checked
    from runtime.config.schema import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One recipe: the file it came from, its plain YAML text, and what checking found."""

    path: Path
    text: str
    checked: Checked


def load_recipe(
    path: Path, *, sets: Sequence[str] = (), variables: Mapping[str, Any] | None = None, target: Mapping[str, Any] | None = None
) -> Recipe:
    """The recipe in file `path` with `sets` (`a.b=c`) laid over it. `variables` and the namespace `gpu` (`target`) fill in a template.

    Problems of the recipe are in `checked`. Raises UserError when the file cannot be read or its template cannot be rendered.
    """
    from launcher.recipe.template import is_template, render_template
    from launcher.recipe.template_folders import template_folders
    from runtime.config.load import check_text, read_text

    text = read_text(path)
    if is_template(path, text):
        folders = template_folders(environment=os.environ)
        text = render_template(text, file=str(path), variables=variables or {}, target=target, folders=folders)
    return Recipe(path=path, text=text, checked=check_text(text, file=str(path), overrides=sets))


def options_of(path: Path | None) -> type[TrainingConfig]:
    """The options that a recipe may have, those of its plugins included; the ones of every recipe when there is no `path`.

    Raises UserError when the file is no YAML, or a plugin of it cannot be loaded; whatever else is wrong with it does not matter.
    """
    from runtime.config.document import BrokenYamlError, read
    from runtime.config.extension import extended
    from runtime.config.load import read_text
    from runtime.config.problem import UserError
    from runtime.config.schema import TrainingConfig

    if path is None:
        return TrainingConfig
    try:
        model, errors, _ = extended(read(read_text(path), file=str(path)))
    except BrokenYamlError as error:
        raise UserError(error.problem) from None
    if errors:
        raise UserError(errors)
    return model
