"""The keys of a recipe: known, old, misspelt or in the wrong place."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel

from runtime.config import extends
from runtime.config.document import Document, Path
from runtime.config.problem import Problem
from runtime.config.renames import ALIASES, DATASET_RENAMED, ELSEWHERE, FOREIGN, FSDP_WORDS, GONE, RENAMED, VALUES_RENAMED
from runtime.config.schema import TrainingConfig
from runtime.config.shape import Model, options, section_of
from runtime.config.spelling import nearest


@dataclass(slots=True, kw_only=True)
class Named:
    """The values under current names, unset ones left out, and what was wrong with the names."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def named(document: Document, top: type[TrainingConfig] = TrainingConfig) -> Named:
    """The document's values with every key checked against the model `top` and translated. Positions of translated keys are added to the document."""
    result = Named()
    lenient = document.values.get("strict") is False
    result.values = _section(document, top, document.values, (), result, lenient)
    return result


def _section(document: Document, model: Model, values: dict[Any, Any], path: Path, result: Named, lenient: bool) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in values.items():
        here: Path = (*path, key)
        name = key
        if key not in model.model_fields:
            name = _current(model, key)
            if name is None:
                if issubclass(model, TrainingConfig) and key in GONE:
                    if value is not None and value is not False:
                        result.warnings.append(_gone(document, here))
                    continue
                problem = _unknown(document, model, here)
                (result.warnings if lenient and problem.code == "unknown-key" else result.errors).append(problem)
                continue
            if value is None:
                continue
            if values.get(name) is not None:
                if values[name] != value:
                    result.errors.append(
                        document.problem(
                            here,
                            code="conflict",
                            message=f"'{key}' and '{name}' are two names of one option, with different values",
                            fix=f"Keep '{name}' alone.",
                        )
                    )
                continue
            if key not in ALIASES:
                result.warnings.append(
                    document.problem(
                        here,
                        code="renamed",
                        message=f"'{key}' is now called '{name}'",
                        fix="`launcher validate --fix` rewrites it; it is read as that already.",
                        suggestion=name,
                    )
                )
            _carry_positions(document, here, (*path, name))
            here = (*path, name)
        if value is not None:
            if issubclass(model, TrainingConfig):
                value = _older_form(document, name, value, here, result)
            kept[name] = _value(document, section_of(model, name), value, here, result, lenient)
    if issubclass(model, TrainingConfig):
        _moved(document, kept, result)
    return kept


def _value(document: Document, section: Model | None, value: Any, path: Path, result: Named, lenient: bool) -> Any:
    if section is None:
        return value
    if isinstance(value, dict):
        return _section(document, section, value, path, result, lenient)
    if isinstance(value, list):
        return [
            _section(document, section, item, (*path, index), result, lenient) if isinstance(item, dict) else item
            for index, item in enumerate(value)
        ]
    return value


def _older_form(document: Document, name: str, value: Any, path: Path, result: Named) -> Any:
    """A value as it is written today: what older recipes write in another form, or by another word."""
    if name == "fsdp" and isinstance(value, str):
        words = value.replace(",", " ").split()
        return words if words and FSDP_WORDS.issuperset(words) else value
    if name == "pretraining_dataset" and isinstance(value, str) and "/" in value:
        document.positions[(*path, 0)] = document.position(path)
        return [{"path": value}]
    if name == "pretraining_dataset" and isinstance(value, dict) and "path" in value:
        _carry_positions(document, path, (*path, 0))
        return [value]
    word = VALUES_RENAMED.get((name, value)) if isinstance(value, str) else None
    if word is None:
        return value
    message = f"`{name}: {value}` is gone; it is read as `{word}`, which does the same"
    result.warnings.append(document.problem(path, code="renamed-value", message=message, fix=f"Write `{name}: {word}`.", suggestion=word))
    return word


def _gone(document: Document, path: Path) -> Problem:
    key = str(path[-1])
    return document.problem(path, code="no-effect", message=f"'{key}' means nothing any more: {GONE[key]}", fix="Remove it.")


def _current(model: Model, key: Any) -> str | None:
    if issubclass(model, TrainingConfig):
        return RENAMED.get(key) or ALIASES.get(key)
    if "message_property_mappings" in model.model_fields:
        return DATASET_RENAMED.get(key)
    bare = str(key).removeprefix("fsdp_")
    return bare if "transformer_layer_cls_to_wrap" in model.model_fields and bare in model.model_fields else None


def _moved(document: Document, values: dict[str, Any], result: Named) -> None:
    """Options that became part of another one."""
    if "max_packed_sequence_len" in document.values and values.get("sequence_len") is not None and "sample_packing" not in values:
        values["sample_packing"] = True
        document.positions[("sample_packing",)] = document.position(("max_packed_sequence_len",))
    scaling = values.pop("rope_scaling", None)
    if scaling is not None:
        inner = values.setdefault("overrides_of_model_config", {})
        if isinstance(inner, dict) and "rope_scaling" not in inner:
            inner["rope_scaling"] = scaling
            document.positions[("overrides_of_model_config", "rope_scaling")] = document.position(("rope_scaling",))
            document.positions.setdefault(("overrides_of_model_config",), document.position(("rope_scaling",)))
            message = "'rope_scaling' has moved to 'overrides_of_model_config.rope_scaling'"
            result.warnings.append(
                document.problem(
                    ("rope_scaling",),
                    code="renamed",
                    message=message,
                    fix="`launcher validate --fix` moves it; it is read as that already.",
                    suggestion="overrides_of_model_config.rope_scaling",
                )
            )
        else:
            message = "'rope_scaling' is written here and under 'overrides_of_model_config'"
            result.errors.append(document.problem(("rope_scaling",), code="conflict", message=message, fix="Keep the second alone."))


def _carry_positions(document: Document, old: Path, new: Path) -> None:
    for path, position in list(document.positions.items()):
        if path[: len(old)] == old:
            document.positions[(*new, *path[len(old) :])] = position


def _unknown(document: Document, model: Model, path: Path) -> Problem:
    key = str(path[-1])
    is_top = issubclass(model, TrainingConfig)
    if is_top and key == extends.KEY:
        fix = "`launcher render FILE` prints the recipe joined with what it extends."
        return document.problem(path, code="unsupported", message="'extends' is the launcher's to join, and nothing to train by", fix=fix)
    elsewhere_named = ELSEWHERE.get(key) if is_top else None
    meant = f"did you mean '{elsewhere_named}'?" if elsewhere_named else ""
    home = _homes().get(key) if is_top else None
    if home is not None:
        return document.problem(
            path,
            code="unsupported",
            message=f"'{key}' belongs under '{home}:', which is known but not supported here yet",
            fix=meant or "Remove it.",
            suggestion=elsewhere_named,
        )
    if is_top and key in FOREIGN:
        return document.problem(
            path,
            code="unsupported",
            message=f"'{key}' {FOREIGN[key]}",
            fix=meant or "Say where and on what to run under `launch:`.",
            suggestion=elsewhere_named,
        )
    if is_top and isinstance(document.values.get(key), dict):
        inside = [name for name in model.model_fields if name.startswith(f"{key}_")]
        if len(inside) > 2:
            fix = f"its options stand at the top level: {', '.join(inside[:4])} …"
            return document.problem(path, code="unknown-key", message=f"unknown section '{key}'", fix=fix, suggestion=inside[0])
    if elsewhere_named is not None:
        return document.problem(path, code="unknown-key", message=f"unknown key '{key}'", fix=meant, suggestion=elsewhere_named)
    known = list(model.model_fields)
    known += list(RENAMED) + list(ALIASES) if is_top else []
    suggestion = nearest(key, known)
    if suggestion is not None:
        return document.problem(
            path, code="unknown-key", message=f"unknown key '{key}'", fix=f"did you mean '{suggestion}'?", suggestion=suggestion
        )
    elsewhere = _places().get(key)
    if elsewhere:
        return document.problem(
            path,
            code="unknown-key",
            message=f"unknown key '{key}' here",
            fix=f"it belongs at '{elsewhere}'" if elsewhere != key else "it belongs at the top level, not indented",
            suggestion=elsewhere,
        )
    return document.problem(
        path,
        code="unknown-key",
        message=f"unknown key '{key}'",
        fix="`launcher explain` lists the options; remove it if it is not meant as one.",
    )


@cache
def _places() -> dict[str, str]:
    """Every option's last name with the first place it is known at, a place that is supported before one that is not."""
    found: dict[str, str] = {}
    for path, _, _ in sorted(options(), key=lambda option: option[0].partition(".")[0] in _UNSUPPORTED_SECTIONS):
        found.setdefault(path.rpartition(".")[2], path)
    return found


@cache
def _homes() -> dict[str, str]:
    """Keys of sections that recipes of today carry and nothing here supports yet, with their section."""
    found: dict[str, str] = {}
    for section in _UNSUPPORTED_SECTIONS:
        model: type[BaseModel] | None = section_of(TrainingConfig, section)
        for name in model.model_fields if model is not None else ():
            # A name that another section has as well is more likely meant there.
            if _places()[name].partition(".")[0] == section:
                found.setdefault(name, section)
    return found


_UNSUPPORTED_SECTIONS = ("context_parallel", "coreweave", "diffusion_decision", "hatchery", "llmcompressor", "mora")
