"""`--set learning_rate=1e-4,2e-4`: one option with several values makes several runs, one for each combination.

A comma separates values unless it is inside brackets, braces or quotes. So `[a,b]` is one value, which is a list, `[a],[b]` are two values, and `"a, b"` is
one text. For an option that takes a list, bare words between commas could be meant either way and are refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_origin

from runtime.config.document import BrokenYamlError, read_value
from runtime.config.problem import Problem, UserError

MOST = 64
"""Runs of one grid. More of them is a slip far more often than a wish."""

# Each run has its own of these, or they belong to the sweep as a whole.
_NOT_VARIED = {
    "launch.name": "each run of a sweep gets a name of its own; --name is that of the sweep",
    "launch.max_cost_usd": "the cap on money is for all runs together",
    "output_dir": "each run of a sweep gets a folder of its own",
}
_OPEN, _CLOSE = "[{", "]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run of a grid: its number from 1, its value of each varied option as it was written, and every `--set` it takes."""

    number: int
    values: Mapping[str, str]
    sets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The varied options with their values, and the runs they make; the last option varies fastest. `axes` is empty where nothing varies."""

    axes: Mapping[str, tuple[str, ...]]
    points: tuple[Point, ...]

    @property
    def is_sweep(self) -> bool:
        """Something varies, so there are several runs."""
        return bool(self.axes)


def read_grid(sets: Sequence[str]) -> Grid:
    """The grid that `--set` texts ask for.

    Raises UserError with every text that cannot be read as one value or as several, and for grids that are too large.
    """
    fixed: list[str] = []
    axes: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for text in sets:
        name, equals, value = text.partition("=")
        name = name.strip()
        parts = split_values(value) if equals else [value]
        if len(parts) < 2:
            fixed.append(text)
            continue
        parts = [part.strip() for part in parts]
        if found := _problem(name, parts, text, axes):
            problems.append(found)
            continue
        axes[name] = tuple(parts)
    problems += [_twice(name) for name in axes if any(text.partition("=")[0].strip() == name for text in fixed)]
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST:
        problems.append(
            Problem(code="usage", place="--set", message=f"this grid has {count} runs, at most {MOST} go", fix="vary less at once")
        )
    if problems:
        raise UserError(problems)
    if not axes:
        return Grid(axes={}, points=(Point(number=1, values={}, sets=tuple(sets)),))
    points = []
    for number, chosen in enumerate(itertools.product(*axes.values()), 1):
        values_here = dict(zip(axes, chosen, strict=True))
        points.append(Point(number=number, values=values_here, sets=(*fixed, *(f"{name}={value}" for name, value in values_here.items()))))
    return Grid(axes=axes, points=tuple(points))


def require_one_run(sets: Sequence[str]) -> None:
    """Raise UserError when `--set` texts ask for several runs of a command that looks at one."""
    axes = read_grid(sets).axes
    if axes:
        name, values = next(iter(axes.items()))
        raise UserError(
            Problem(
                code="usage",
                path=name,
                place=f"--set {name}={','.join(values)}",
                message=f"'{name}' has {len(values)} values here, and this command looks at one run",
                fix=f"`launcher plan` and `launcher up` take several; a text with commas needs quotes: {name}='\"{','.join(values)}\"'",
            )
        )


def split_values(text: str) -> list[str]:
    """The text between the commas that stand outside brackets, braces and quotes; one text where a bracket or a quote stays open."""
    parts, start, depth, quote, before, closed = [], 0, 0, "", ",", -2
    for at, char in enumerate(text):
        if quote:
            if char == quote and not (quote == '"' and _is_escaped(text, at)):
                quote, closed = "", at
        elif char in "\"'" and (before in ",[{:" or (char == "'" and closed == at - 1)):
            # A quote opens a text only where a value begins: in `don't` it is a letter. Two single ones inside single ones are one of the text.
            quote = char
        elif char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
        before = char if not char.isspace() else before
    return [text] if quote or depth != 0 else [*parts, text[start:]]


def _is_escaped(text: str, at: int) -> bool:
    slashes = len(text[:at]) - len(text[:at].rstrip("\\"))
    return slashes % 2 == 1


def _problem(name: str, parts: list[str], text: str, axes: Mapping[str, object]) -> Problem | None:
    place = f"--set {text}"
    if name in _NOT_VARIED:
        return Problem(code="usage", path=name, place=place, message=_NOT_VARIED[name], fix="give it one value, or leave it out")
    if name in axes:
        return _twice(name)
    if not all(parts):
        return Problem(
            code="usage",
            path=name,
            place=place,
            message="between two commas there is nothing",
            fix="write null for an option that is unset",
        )
    try:
        values = [read_value(part, place=place) for part in parts]
    except BrokenYamlError as error:
        return error.problem
    if any(value in values[:index] for index, value in enumerate(values)):
        return Problem(code="usage", path=name, place=place, message="a value is there twice", fix="name each value once")
    if _takes_list(name) and not all(value is None or isinstance(value, list) for value in values):
        joined = ",".join(parts)
        return Problem(
            code="usage",
            path=name,
            place=place,
            message=f"'{name}' takes a list, so this may mean one value or several",
            fix=f"write {name}=[{joined}] for one list, {name}={','.join(f'[{part}]' for part in parts)} for a run with each, or {name}='\"{joined}\"' for a text",
        )
    return None


def _takes_list(name: str) -> bool:
    from runtime.config.overrides import path_of
    from runtime.config.shape import field_at, members

    path = path_of(name)
    if path is None:
        return False
    # Whether a part is a number or a key depends on the recipe; for the kind of value it does not matter.
    numbered = tuple(int(part) if isinstance(part, str) and part.isdecimal() else part for part in path)
    _, annotation = field_at(numbered)
    return any(get_origin(kind) in (list, tuple) for kind in members(annotation))


def _twice(name: str) -> Problem:
    return Problem(code="usage", path=name, place="--set", message=f"'{name}' is given twice", fix="name all its values in one --set")
