"""A recipe file, rendered when it is a template, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.config.load import Checked


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
    from runtime.config.load import check_text, read_text

    text = read_text(path)
    if is_template(path, text):
        text = render_template(text, file=str(path), variables=variables or {}, target=target)
    return Recipe(path=path, text=text, checked=check_text(text, file=str(path), overrides=sets))
