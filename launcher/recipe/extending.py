"""Recipes that extend others: `extends: ./base.yml`, or a family as `launcher new` writes it, `extends: qwen-3/8b/qlora`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.config.document import BrokenYamlError, Document, Position, read
from runtime.config.document import Path as Place
from runtime.config.extends import KEY
from runtime.config.problem import UserError
from runtime.config.renames import ALIASES, RENAMED

_ENDINGS = (".yml", ".yaml", ".j2")
_FORMS = "Write the path of a recipe, `extends: ./base.yml`, or FAMILY/SIZE/METHOD, `extends: qwen-3/8b/qlora`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What bases are found and filled in with: `inside` are the folders that they may lie in, `folders` those of templates, the user's own first."""

    inside: Sequence[Path]
    folders: Sequence[Path]
    variables: Mapping[str, Any]
    target: Mapping[str, Any] | None


def extended_document(document: Document, around: Surroundings) -> tuple[Document, tuple[Path, ...]]:
    """The document laid over the recipe it extends, and that over its own base, and so on; and the files of those, the nearest first.

    Mappings are joined key by key, anything else replaces what the base has, and an empty value removes it. Positions name the file they are in.
    Raises UserError for a base that is missing, lies outside of the folders it may be in, is broken, or extends a recipe that extends it.
    """
    chain: list[Path] = [Path(document.file).resolve()]
    layers = [document]
    while (wanted := layers[-1].values.pop(KEY, None)) is not None:
        layers.append(_base(layers[-1], wanted, chain, around))
    result = layers.pop()
    while layers:
        result = _laid(result, layers.pop())
    return result, tuple(chain[1:])


def _base(document: Document, wanted: Any, chain: list[Path], around: Surroundings) -> Document:
    def refused(code: str, message: str, fix: str) -> UserError:
        return UserError(document.problem((KEY,), code=code, message=message, fix=fix))

    if not isinstance(wanted, str) or not wanted.strip():
        raise refused("wrong-type", f"'{KEY}' must be a text", _FORMS)
    if not wanted.endswith(_ENDINGS):
        return _family(wanted, document, around)
    path = _found(wanted, document, around)
    if path is None:
        raise refused(
            "missing-file",
            f"there is no recipe '{wanted}' to extend",
            "It is looked for beside this file, then in --templates and in $LAUNCHER_TEMPLATES.",
        )
    if not any(path.is_relative_to(folder.resolve()) for folder in around.inside) or not path.name.endswith(_ENDINGS):
        message = f"'{wanted}' leads out of the recipe's folder, the current one and those of templates"
        raise refused("unsafe-path", message, "Copy it beside the recipe, or start the launcher in a folder that holds both.")
    if path in chain:
        circle = " → ".join(file.name for file in [*chain[chain.index(path) :], path])
        raise refused("conflict", f"recipes extend each other in a circle: {circle}", f"Remove one `{KEY}`.")
    chain.append(path)
    return _read(path, os.path.normpath(Path(document.file).parent / wanted), around)


def _found(wanted: str, document: Document, around: Surroundings) -> Path | None:
    for folder in (Path(document.file).parent, *around.folders):
        path = (folder / Path(wanted).expanduser()).resolve()
        if path.is_file():
            return path
    return None


def _read(path: Path, name: str, around: Surroundings) -> Document:
    from launcher.recipe.template import is_template, render_template
    from runtime.config.load import read_text

    file = name if Path(name).exists() else str(path)
    text = read_text(path)
    if is_template(path, text):
        text = render_template(text, file=file, variables=around.variables, target=around.target, folders=around.folders)
    return _document(text, file)


def _family(wanted: str, document: Document, around: Surroundings) -> Document:
    from launcher.recipe.catalogue import Order, read_catalogue
    from launcher.recipe.dataset import describe

    words = wanted.split("/")
    if len(words) != 3 or not all(words):
        raise UserError(
            document.problem((KEY,), code="wrong-type", message=f"'{wanted}' is neither a recipe's file nor a family", fix=_FORMS)
        )
    family, size, method = words
    order = Order(
        family=family,
        size=size,
        method=method,
        dataset=describe(None, text_only=method == "pretrain"),
        dataset_given=False,
        schema="recipe.schema.json",
        # What a recipe extends is the same wherever it goes: a batch for the GPUs at hand is for the recipe itself to say.
        target={},
        variables=around.variables,
    )
    try:
        return _document(read_catalogue(around.folders).render(order), wanted)
    except UserError as error:
        here = document.position((KEY,))
        # What is unknown of the words is wrong in this file; what is wrong in a template or a facts file is there.
        raise UserError(
            replace(problem, place="", file=document.file, line=here.line, column=here.column) if not problem.file else problem
            for problem in error.problems
        ) from None


def _document(text: str, file: str) -> Document:
    try:
        return read(text, file=file)
    except BrokenYamlError as error:
        raise UserError(error.problem) from None


def _laid(base: Document, over: Document) -> Document:
    """`over` laid on `base`; both are used up."""
    result = Document(file=over.file, text=over.text, values=base.values)
    result.positions = {place: _in_file(position, base.file) for place, position in base.positions.items()}
    places = {place: _in_file(position, over.file) for place, position in over.positions.items()}
    _forget_other_names(result, over.values)
    _lay(result, result.values, over.values, (), places)
    return result


def _in_file(position: Position, file: str) -> Position:
    return position if position.file or position.origin else replace(position, file=file)


def _lay(result: Document, values: dict[Any, Any], more: Mapping[Any, Any], path: Place, places: Mapping[Place, Position]) -> None:
    for key, value in more.items():
        here = (*path, key)
        there = values.get(key)
        if isinstance(value, dict) and isinstance(there, dict):
            if here in places:
                result.positions[here] = places[here]
            _lay(result, there, value, here, places)
            continue
        _forget(result, here)
        values.pop(key, None)
        if value is not None:
            values[key] = value
            result.positions |= {place: position for place, position in places.items() if place[: len(here)] == here}


def _forget(result: Document, path: Place) -> None:
    for place in [place for place in result.positions if place[: len(path)] == path]:
        del result.positions[place]


def _forget_other_names(result: Document, more: Mapping[Any, Any]) -> None:
    """An option may have an old name below and a new one above: they are one option."""
    wanted = {_current(key) for key in more}
    for key in [key for key in result.values if key not in more and _current(key) in wanted]:
        del result.values[key]
        _forget(result, (key,))


def _current(key: Any) -> Any:
    return RENAMED.get(key) or ALIASES.get(key) or key
