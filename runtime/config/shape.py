"""What the schema says about an option: its section, its type in words, the values it takes."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from runtime.config.document import Path
from runtime.config.schema import TrainingConfig

Model = type[BaseModel]


def members(annotation: Any) -> Iterator[Any]:
    """The alternatives of a type, without None and without constraints."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from members(member)
    elif annotation is not type(None):
        yield annotation


@cache
def section_of(model: Model, name: str) -> Model | None:
    """The section that option `name` holds, itself or in a list; None when it holds plain values."""
    for member in members(model.model_fields[name].annotation):
        inner = list(members(get_args(member)[0])) if get_origin(member) is list else [member]
        for candidate in inner:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                return candidate
    return None


def field_at(path: Path, top: Model = TrainingConfig) -> tuple[FieldInfo | None, Any]:
    """The option that `path` belongs to (None inside free mappings) and the type expected at exactly that path; `top` is the model of the recipe."""
    model: Model | None = top
    info: FieldInfo | None = None
    annotation: Any = top
    for part in path:
        if isinstance(part, str) and model is not None and part in model.model_fields:
            info = model.model_fields[part]
            annotation = info.annotation
            model = section_of(model, part)
            continue
        info = None
        annotation = _inside(annotation, part)
    return info, annotation


def _inside(annotation: Any, part: str | int) -> Any:
    wanted = list if isinstance(part, int) else dict
    for member in members(annotation):
        origin = get_origin(member)
        if origin is wanted:
            return get_args(member)[-1]
        if origin is tuple and isinstance(part, int) and part < len(get_args(member)):
            return get_args(member)[part]
    return Any


def options(top: Model = TrainingConfig) -> Iterator[tuple[str, FieldInfo, Model]]:
    """Every option as `datasets[].type`, with its definition and the section that holds it; `top` is the model of the recipe."""
    yield from _options(top, "", ())


def _options(model: Model, prefix: str, above: tuple[Model, ...]) -> Iterator[tuple[str, FieldInfo, Model]]:
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path, info, model
        section = section_of(model, name)
        if section is not None and section not in above:
            listed = any(get_origin(member) is list for member in members(info.annotation))
            yield from _options(section, f"{path}[]." if listed else f"{path}.", (*above, section))


def generic(path: Path) -> str:
    """`('datasets', 3, 'type')` as `datasets[].type`, the name under which an option is known."""
    return re.sub(r"\[\d+\]", "[]", "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip("."))


def in_words(annotation: Any) -> str:
    """The type as a sentence says it: `a whole number`, `text or a list of text`, `auto, true or false`."""
    words: list[str] = []
    choices: list[str] = []
    for member in members(annotation):
        if get_origin(member) is Literal:
            choices.extend(f"`{value}`" for value in get_args(member))
        else:
            words.append(_word(member))
    if "true or false" in words and choices:
        words.remove("true or false")
        choices += ["true", "false"]
    if "a whole number" in words and "a number" in words:
        words.remove("a whole number")
    parts = choices + [word for index, word in enumerate(words) if word not in words[:index]]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}" if parts else "a value"


_WORDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a mapping",
    list: "a list",
    Any: "any value",
}


def _word(member: Any) -> str:
    origin = get_origin(member)
    if origin is list:
        inner = get_args(member)[0]
        plural = {"text": "texts", "a whole number": "whole numbers", "a number": "numbers", "a mapping": "mappings"}
        return f"a list of {plural.get(in_words(inner), in_words(inner))}"
    if origin is tuple:
        return f"a list of {len(get_args(member))} whole numbers"
    if origin is dict or (isinstance(member, type) and issubclass(member, BaseModel)):
        return "a mapping"
    return _WORDS.get(member, "a value")


def literals(annotation: Any) -> tuple[Any, ...]:
    """The fixed values the type allows, when it allows any."""
    return tuple(value for member in members(annotation) if get_origin(member) is Literal for value in get_args(member))
