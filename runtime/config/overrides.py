"""`--set a.b=c`: values laid over a recipe before it is checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from runtime.config.document import BrokenYamlError, Document, Path, Position, dotted, read_value
from runtime.config.problem import Problem
from runtime.config.shape import field_at, members

_PART = re.compile(r"([^.\[\]=]+)|\[(\d+)\]")


def apply(document: Document, overrides: Sequence[str]) -> list[Problem]:
    """The problems of laying `overrides` over the document, which is changed in place. An empty value unsets the option."""
    problems: list[Problem] = []
    for text in overrides:
        place = f"--set {text}"
        name, equals, value_text = text.partition("=")
        path = path_of(name.strip())
        if not equals or path is None:
            problems.append(
                Problem(
                    code="yaml",
                    message="not of the form key=value",
                    fix="Write `--set lora_r=16` or `--set datasets.0.path=data.jsonl`.",
                    place=place,
                )
            )
            continue
        try:
            value = read_value(value_text, place=place)
            _put(document, path, value, place)
        except BrokenYamlError as error:
            problems.append(error.problem)
    return problems


def path_of(name: str) -> Path | None:
    """`datasets[0].path` as a path; None when it is none."""
    parts: list[str | int] = []
    at = 0
    while at < len(name):
        if at and name[at] == ".":
            at += 1
        found = _PART.match(name, at)
        if found is None:
            return None
        parts.append(int(found[2]) if found[2] is not None else found[1])
        at = found.end()
    return tuple(parts) if parts and isinstance(parts[0], str) else None


def _put(document: Document, path: Path, value: Any, place: str) -> None:
    holder: Any = document.values
    for depth in range(len(path)):
        part = path[depth]
        if isinstance(part, str) and part.isdecimal() and (isinstance(holder, list) or _has_number_keys(path[:depth])):
            # `datasets.0.path` is `datasets[0].path`; the keys of `max_memory` are numbers.
            part = int(part[:9])
            path = (*path[:depth], part, *path[depth + 1 :])
        last = depth == len(path) - 1
        here = path[: depth + 1]
        if isinstance(part, int) and not (isinstance(holder, dict) and _has_number_keys(path[:depth])):
            if not isinstance(holder, list):
                raise BrokenYamlError(
                    Problem(code="wrong-type", message=f"{dotted(path[:depth])} is no list", path=dotted(here), place=place)
                )
            if part > len(holder):
                raise BrokenYamlError(
                    Problem(
                        code="out-of-range",
                        message=f"{dotted(path[:depth])} has {len(holder)} entries",
                        fix=f"The next free one is [{len(holder)}].",
                        path=dotted(here),
                        place=place,
                    )
                )
            if part == len(holder):
                holder.append(None)
        elif not isinstance(holder, dict):
            raise BrokenYamlError(
                Problem(code="wrong-type", message=f"{dotted(path[:depth])} is no mapping", path=dotted(here), place=place)
            )
        if last:
            for old in [known for known in document.positions if known[: len(here)] == here]:
                del document.positions[old]
            holder[part] = value
            document.positions[here] = Position(origin=place)
            return
        inner = holder[part] if isinstance(part, int) else holder.get(part)
        if inner is None:
            inner = [] if _is_index(path[depth + 1], here) else {}
            holder[part] = inner
            document.positions[here] = Position(origin=place)
        holder = inner


def _has_number_keys(holder: Path) -> bool:
    kinds = [get_args(kind)[0] for kind in members(field_at(holder)[1]) if get_origin(kind) is dict] if holder else []
    return any(int in members(kind) for kind in kinds)


def _is_index(part: str | int, holder: Path) -> bool:
    if isinstance(part, int):
        return True
    kinds = [get_origin(kind) for kind in members(field_at(holder)[1])]
    return part.isdecimal() and list in kinds and dict not in kinds
