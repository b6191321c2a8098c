"""Where templates that others build on are found: a folder of the user's own, then the shipped one. Nothing outside of them is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError
from runtime.config.resources import data_dir

if TYPE_CHECKING:
    from jinja2 import BaseLoader

VARIABLE = "LAUNCHER_TEMPLATES"
ENDINGS = (".jinja", ".j2")
SHIPPED = "shipped"
"""`{% extends "shipped/lora.yml.jinja" %}` means the shipped one, also inside a template of that name."""


def template_folders(own: Path | None = None, *, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The folders to look in, the user's first: `own`, or the one the environment names. Raises UserError when that is no folder."""
    named = own if own is not None else Path(environment[VARIABLE]).expanduser() if environment.get(VARIABLE) else None
    if named is None:
        return (data_dir("templates"),)
    if not named.is_dir():
        place = "--templates" if own is not None else f"${VARIABLE}"
        raise UserError(
            Problem(code="missing-file", place=f"{place} {named}", message="there is no such folder", fix="Name a folder with templates.")
        )
    return named, data_dir("templates")


def loader_of(folders: Sequence[Path]) -> BaseLoader | None:
    """A loader of the templates in `folders`, first come first served; None without folders."""
    import jinja2

    if not folders:
        return None

    def load(name: Any) -> tuple[str, str, None] | None:
        if not isinstance(name, str):  # a template may name what it likes
            return None
        within = folders[-1:] if name.startswith(f"{SHIPPED}/") else folders
        for folder in within:
            file = (folder / name.removeprefix(f"{SHIPPED}/")).resolve()
            # Links and `..` may lead out of the folder, and other files than templates may lie in it.
            if file.is_relative_to(folder.resolve()) and file.name.endswith(ENDINGS) and file.is_file():
                return file.read_text(encoding="utf-8"), str(file), None
        return None

    return jinja2.FunctionLoader(load)
