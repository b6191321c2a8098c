"""The values of a recipe against their types and ranges, in words a reader understands."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from runtime.config.document import Document, Path, dotted
from runtime.config.problem import Problem
from runtime.config.schema import TrainingConfig
from runtime.config.shape import field_at, in_words, literals, members, section_of
from runtime.config.spelling import nearest

_NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_DIGITS = re.compile(r"[-+]?[0-9]{1,18}")
_LIMITS = {"greater_than": "above", "greater_than_equal": "at least", "less_than": "below", "less_than_equal": "at most"}
_LENGTHS = {"too_short", "too_long"}


def typed(
    document: Document, values: dict[str, Any], model: type[TrainingConfig] = TrainingConfig
) -> tuple[TrainingConfig | None, list[Problem]]:
    """The config of `values`, or the problems that stand in its way. Numbers written as text are read as numbers."""
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        failures = _by_path(error, values)
    except Exception as error:  # noqa: BLE001 - a validator of a plugin raises what it likes
        return None, [_validator_failed(document, error)]
    if _repaired(values, failures, model):
        try:
            return model.model_validate(values), []
        except ValidationError as error:
            failures = _by_path(error, values)
        except Exception as error:  # noqa: BLE001 - as above
            return None, [_validator_failed(document, error)]
    return None, [_problem(document, path, found, model) for path, found in failures.items()]


def _by_path(error: ValidationError, values: dict[str, Any]) -> dict[Path, list[dict[str, Any]]]:
    """Failures by the path they concern. Where one alternative of a type failed deeper inside, only the deeper failure says something."""
    found: dict[Path, list[dict[str, Any]]] = {}
    for item in error.errors(include_url=False):
        found.setdefault(_path(item["loc"], values, missing=item["type"] == "missing"), []).append(dict(item))
    return {
        path: items for path, items in found.items() if not any(other[: len(path)] == path and len(other) > len(path) for other in found)
    }


def _path(location: tuple[str | int, ...], values: Any, *, missing: bool) -> Path:
    """The path in the recipe of a pydantic location, which also names alternatives of a type, and failures of a mapping's keys as `[key]`."""
    if location[-1:] == ("[key]",):
        location = location[:-2]
    path: list[str | int] = []
    here: Any = values
    for index, part in enumerate(location):
        if _holds(here, part):
            path.append(part)
            here = here[part]
        elif missing and index == len(location) - 1:
            path.append(part)
    return tuple(path)


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _repaired(values: dict[str, Any], failures: dict[Path, list[dict[str, Any]]], model: type[TrainingConfig]) -> bool:
    """Whether any value could be put right without guessing: `"1e-5"` for a number, `1e3` for a whole number, `no` for the word."""
    done = False
    for path in failures:
        if not path:
            continue
        holder: Any = values
        for part in path[:-1]:
            holder = holder[part]
        last = path[-1]
        if not _holds(holder, last):
            continue
        value = holder[last]
        better = _better(value, field_at(path, model)[1])
        if better is not None:
            holder[last] = better
            done = True
    return done


def _better(value: Any, annotation: Any) -> Any:
    kinds = list(members(annotation))
    if isinstance(value, bool):
        words = {False: ("no", "none", "off", "false"), True: ("yes", "on", "true")}[value]
        return next((word for word in words if word in literals(annotation)), None)
    if isinstance(value, str) and (int in kinds or float in kinds) and _NUMBER.fullmatch(value.strip()):
        digits = value.strip().replace("_", "")
        value = int(digits) if float not in kinds and _DIGITS.fullmatch(digits) else float(digits)
        if float in kinds:
            return value
    if isinstance(value, float) and int in kinds and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, dict):
        if any(str(kind).startswith("dict[int,") for kind in kinds) and all(_DIGITS.fullmatch(str(key)) for key in value):
            return {int(key): item for key, item in value.items()}
        named = {str(key): item for key, item in value.items()}
        if any(str(kind).startswith("dict[str,") for kind in kinds) and named != value and len(named) == len(value):
            return named
    return value if isinstance(value, int) and int in kinds else None


def _problem(document: Document, path: Path, failures: list[dict[str, Any]], model: type[TrainingConfig]) -> Problem:
    name = dotted(path)
    kinds = {item["type"] for item in failures}
    annotation = field_at(path, model)[1]
    value = failures[0]["input"]
    if "missing" in kinds:
        return document.problem(
            path,
            code="missing",
            message=f"'{name}' is missing",
            fix=_MISSING_FIXES.get(name, f"`launcher explain {name}` says what belongs there."),
        )
    for item in failures:
        if item["type"] in ("value_error", "assertion_error"):
            # Only models of plugins have validators of their own.
            said = str(item["ctx"]["error"]).strip() or "a plugin refuses this value"
            return document.problem(path or ("plugins",), code="plugin", message=f"{name}: {said}" if name else said)
        if item["type"] in _LIMITS:
            limit = next(iter(item["ctx"].values()))
            return document.problem(
                path, code="out-of-range", message=f"{name} must be {_LIMITS[item['type']]} {limit}, found {_shown(item['input'])}"
            )
        if kinds <= _LENGTHS:
            wanted = (
                "at least one entry" if item["type"] == "too_short" and item["ctx"].get("min_length") == 1 else f"{in_words(annotation)}"
            )
            return document.problem(path, code="out-of-range", message=f"{name} needs {wanted}")
    choices = [str(choice) for choice in literals(annotation)]
    if isinstance(value, str) and choices:
        suggestion = nearest(value, choices)
        fix = f"did you mean '{suggestion}'?" if suggestion else _fix(value, annotation)
        return document.problem(
            path,
            code="unknown-name",
            message=f"{name} must be {in_words(annotation)}; found {_shown(value)}",
            fix=fix,
            suggestion=suggestion,
        )
    if path[:2] == ("launch", "secrets") and "string_pattern_mismatch" in kinds:
        # What stands there may be the secret itself, which is not to be said again.
        fix = "Write the name alone, such as HF_TOKEN; the value stays in the environment."
        return document.problem(path, code="out-of-range", message=f"{name} is no name of an environment variable", fix=fix)
    if "string_pattern_mismatch" in kinds:
        return document.problem(
            path, code="out-of-range", message=f"{name} is {_shown(value)}, which does not have the form {failures[0]['ctx']['pattern']}"
        )
    return document.problem(
        path,
        code="wrong-type",
        message=f"{name} must be {in_words(annotation)}, found {_shown(value)}",
        fix=_section_fix(path, value, model) or _fix(value, annotation),
    )


def _validator_failed(document: Document, error: Exception) -> Problem:
    return document.problem(
        ("plugins",),
        code="plugin",
        message=f"a validator of a plugin's options fails: {type(error).__name__}: {error}",
        fix="It tells a bad value by raising ValueError.",
    )


_MISSING_FIXES = {
    "base_model": "Name the model to start from: a Hugging Face id or a folder.",
    "learning_rate": "2e-4 is usual for LoRA, 2e-5 for full fine-tuning.",
}


def _section_fix(path: Path, value: Any, top: type[TrainingConfig]) -> str:
    """How a section, or a list of sections, is written, where something else stands."""
    names = [part for part in path if isinstance(part, str)]
    info, _ = field_at(tuple(names), top)
    model: Any = top
    for part in names:
        model = section_of(model, part) if model is not None and part in model.model_fields else None
    if model is None or info is None:
        return ""
    listed = any(str(kind).startswith("list[") for kind in members(info.annotation)) and not isinstance(path[-1], int)
    if listed and isinstance(value, dict):
        return "It is a list: put `- ` before its first key and indent the others like it."
    first = next(iter(model.model_fields))
    if isinstance(value, str) and listed:
        return f"It is a list of sections: write `- {first}: {_shown(value).strip(chr(39))}` on a line of its own."
    if isinstance(value, str) and first == "path":
        return f"Write `path: {_shown(value).strip(chr(39))}`, with its other keys below it."
    return f"It is a section: write its keys below it, such as `{', '.join(list(model.model_fields)[:3])}`."


def _fix(value: Any, annotation: Any) -> str:
    words = in_words(annotation)
    if (
        isinstance(value, str)
        and "true or false" in words.replace("true, false", "true or false")
        and value.lower() in ("true", "false", "yes", "no", "on", "off")
    ):
        return "Remove the quotes."
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return "Put its keys in quotes."
    if words.startswith("a list") and isinstance(value, str):
        return f"Write it as a list: [{value}]."
    if "text" in words.split(" or ") and not isinstance(value, dict | list):
        return f'If it is meant as text, put it in quotes: "{_shown(value).strip(chr(39))}".'
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "…")
    return str(value)
