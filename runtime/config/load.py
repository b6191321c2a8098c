"""A recipe's text to a checked config: every problem at once, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from runtime.config import derived, effects, names, rules, values
from runtime.config import overrides as overriding
from runtime.config.document import BrokenYamlError, Document, Path, read
from runtime.config.extension import extended
from runtime.config.plain import config_hash, dump_yaml
from runtime.config.problem import Problem, UserError
from runtime.config.schema import TrainingConfig

__all__ = ["Checked", "check_document", "check_text", "config_hash", "dump_yaml", "load_config", "read_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a recipe's text turned out to be. `config` is there only when there are no errors; `draft` also when all that is wrong is that something is
    known and not supported here yet: it can be reasoned about, and not run."""

    config: TrainingConfig | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    document: Document
    draft: TrainingConfig | None = None


def load_config(path: FilePath, overrides: Sequence[str] = ()) -> Checked:
    """The checked recipe in file `path`. Raises UserError with every error when there is one, or when the file cannot be read."""
    checked = check_text(read_text(path), file=str(path), overrides=overrides)
    if checked.errors:
        raise UserError(checked.errors)
    return checked


def read_text(path: FilePath) -> str:
    """The text of a recipe file. Raises UserError when there is none to read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            Problem(
                code="missing-file",
                message="there is no such file",
                fix="Check the path; `launcher new` writes a recipe to start from.",
                file=str(path),
            )
        ) from None
    except IsADirectoryError:
        raise UserError(
            Problem(code="missing-file", message="this is a folder", fix="Name the recipe file inside it.", file=str(path))
        ) from None
    except UnicodeDecodeError:
        raise UserError(Problem(code="yaml", message="this is no UTF-8 text", fix="Save the recipe as UTF-8.", file=str(path))) from None
    except OSError as error:
        raise UserError(
            Problem(
                code="missing-file",
                message=f"the file cannot be read: {error.strerror or error}",
                fix="Check its permissions.",
                file=str(path),
            )
        ) from None


def check_text(text: str, *, file: str, overrides: Sequence[str] = (), plugin_folders: Sequence[FilePath] = ()) -> Checked:
    """The checked recipe in `text`; `overrides` are `a.b=c` texts laid over it. Never raises for what a recipe may contain.

    The recipe's own plugins are looked for beside `file`, or in `plugin_folders` when there are any.
    """
    try:
        document = read(text, file=file)
    except BrokenYamlError as error:
        return Checked(config=None, errors=(error.problem,), warnings=(), document=Document(file=file, text=text))
    return check_document(document, overrides=overrides, plugin_folders=plugin_folders)


def check_document(document: Document, *, overrides: Sequence[str] = (), plugin_folders: Sequence[FilePath] = ()) -> Checked:
    """The checked recipe in `document`, as `check_text` does it."""
    errors = overriding.apply(document, overrides)
    model, plugin_errors, warnings = extended(document, plugin_folders)
    found = names.named(document, model)
    # What a plugin that cannot be loaded would have added is not known: only keys that look misspelt are told then.
    errors += [*plugin_errors, *(error for error in found.errors if not plugin_errors or error.code != "unknown-key" or error.suggestion)]
    warnings += found.warnings
    derived.complete(document, found.values)
    config, type_problems = values.typed(document, found.values, model)
    meant = {problem.suggestion for problem in errors if problem.code == "unknown-key"}
    errors += [problem for problem in type_problems if problem.code != "missing" or problem.path not in meant]
    # Rules look at what is sound of a recipe even when something else is wrong, so that all problems show at once.
    broken = {_top(problem.path) for problem in errors if problem not in plugin_errors}
    # What a misspelt key was meant to be is there, though not read: nothing is said about its absence.
    broken |= {_top(name) for name in meant if name}
    sound = config if config is not None else _sound_part(found.values, broken, model)
    refused: set[Path] = set()
    for finding in (*effects.check(sound), *rules.check(sound)) if sound is not None else ():
        if finding.code != "unsupported" and broken & {str(finding.path[0]), *finding.involves}:
            continue
        # What is refused as it stands needs no warning besides.
        if finding.warning and finding.path in refused:
            continue
        if finding.code == "unsupported":
            refused.add(finding.path)
        problem = document.problem(
            finding.path,
            code=finding.code,
            message=finding.message,
            fix=finding.fix,
            suggestion=finding.suggestion,
            near=finding.involves,
        )
        (warnings if finding.warning else errors).append(problem)
    draft = config if all(problem.code == "unsupported" for problem in errors) else None
    return Checked(config=None if errors else config, errors=_ordered(errors), warnings=_ordered(warnings), document=document, draft=draft)


def _sound_part(given: dict[str, Any], broken: set[str], model: type[TrainingConfig]) -> TrainingConfig | None:
    """The config of the options that are not broken, with stand-ins for what is required; None when even that cannot be read."""
    kept = {"base_model": "?", "learning_rate": 1e-5, **{key: value for key, value in given.items() if key not in broken}}
    try:
        return model.model_validate(kept)
    except ValidationError:
        return None
    except Exception:  # noqa: BLE001 - a validator of a plugin raises what it likes; `typed` has told it
        return None


def _top(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]


def _ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems in the order of the file, each file's together; those without a line come last."""
    return tuple(
        sorted(dict.fromkeys(problems), key=lambda problem: (problem.line is None, problem.file, problem.line or 0, problem.column or 0))
    )
