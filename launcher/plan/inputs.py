"""What a recipe names on this machine, looked at before anything starts: the files are there, and their rows can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

# Endings that name a file, never a repository of the Hub.
_FILES = (".json", ".jsonl", ".csv", ".parquet", ".arrow", ".txt", ".zst", ".gz")
_LOOKED_AT_BYTES = 8 * 2**20


def input_problems(config: TrainingConfig) -> list[Problem]:
    """Why local inputs cannot be used: `missing-file` for the base model and data that are not there, `bad-data` for JSON Lines that do not parse.

    A name that may be a repository of the Hub is not judged here. Of a long file only the beginning is read.
    """
    problems = []
    model = Path(config.base_model).expanduser()
    if _is_local(config.base_model) and not model.is_dir():
        problems.append(
            _missing("base_model", config.base_model, "name a folder with config.json and weights, or a model of the Hugging Face Hub")
        )
    for option in ("datasets", "test_datasets"):
        for index, source in enumerate(getattr(config, option) or ()):
            problems += _source_problems(source, f"{option}[{index}]")
    return problems


def _source_problems(source: Any, path: str) -> Iterator[Problem]:
    name = source.path or ""
    place = Path(name).expanduser()
    named = [source.data_files] if isinstance(source.data_files, str) else list(source.data_files or ())
    if _is_local(name) and not place.exists():
        yield _missing(f"{path}.path", name, "check the path; it is read relative to the folder the launcher is started in")
        return
    base = place if place.is_dir() else Path()
    for file in named:
        if (place.is_dir() or _is_local(file)) and "://" not in file and "*" not in file and not (base / file).expanduser().exists():
            yield _missing(f"{path}.data_files", str(base / file), "check the path")
    if place.is_file() and (source.ds_type or place.suffix) in ("json", ".jsonl", ".json"):
        yield from _row_problems(place, path)


def _row_problems(file: Path, path: str) -> Iterator[Problem]:
    try:
        with file.open("rb") as stream:
            if stream.read(1) in (b"[", b""):
                return
            stream.seek(0)
            for number, line in enumerate(stream, start=1):
                # A pretty-printed document is valid JSON that no single line of it is.
                if stream.tell() > _LOOKED_AT_BYTES or (number == 1 and line.strip() == b"{"):
                    return
                if problem := _line_problem(line, file, number, path):
                    yield problem
                    return
    except OSError as error:
        yield Problem(
            code="unreadable-file", path=path, place=str(file), message=f"cannot be read: {error.strerror}", fix="check its permissions"
        )


def _line_problem(line: bytes, file: Path, number: int, path: str) -> Problem | None:
    if not line.strip():
        return None
    try:
        json.loads(line)
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "not UTF-8 text"
        return Problem(
            code="bad-data",
            path=path,
            file=str(file),
            line=number,
            message=f"this line is not one JSON object: {reason}",
            fix="write one whole JSON object on each line",
        )
    return None


def _is_local(name: str) -> bool:
    return name.startswith(("./", "../", "/", "~")) or ("://" not in name and name.endswith(_FILES))


def _missing(path: str, name: str, fix: str) -> Problem:
    return Problem(code="missing-file", path=path, place=path, message=f"there is no file or folder {name}", fix=fix)
