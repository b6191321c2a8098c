"""The rows a recipe names: local files and folders, saved datasets, datasets of the Hub."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import xxhash

from runtime.config.problem import Problem, UserError
from runtime.model.refusals import refusal

_LOADERS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".md": "text",
    ".text": "text",
}
_PACKED = (".gz", ".zst", ".bz2", ".xz")
_REMOTE = ("s3://", "gs://", "gcs://", "abfs://", "az://", "oci://", "http://", "https://", "hf://")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows to load, found but not read. `key` says what they are, by content for local files; equal keys mean equal rows."""

    path: str
    loader: str
    arguments: dict[str, Any]
    files: tuple[Path, ...]
    split: str
    option: str

    @property
    def key(self) -> Any:
        """What the rows depend on, as JSON; None when only loading them tells (a branch of a Hub dataset can move)."""
        if not self.files:
            return None
        return [
            self.loader,
            self.split,
            {k: v for k, v in self.arguments.items() if k not in {"data_files", "path"}},
            [_digest(file) for file in self.files],
        ]


def find_source(entry: Any, *, option: str) -> Source:
    """The source that the dataset at `option` names. Raises UserError when a local file is missing or its kind cannot be told."""
    path = entry.path
    if not path:
        raise UserError(
            Problem(
                code="missing",
                message="this dataset has no path",
                path=f"{option}.path",
                fix="give a file, a folder or a dataset of the Hub",
            )
        )
    split = entry.split or "train"
    arguments: dict[str, Any] = {"name": entry.name} if entry.name else {}
    local = Path(path).expanduser()
    given = [entry.data_files] if isinstance(entry.data_files, str) else list(entry.data_files or [])
    if path.startswith(_REMOTE):
        return Source(
            path=path,
            loader=_kind(entry, Path(path), option),
            arguments={**arguments, "data_files": given or path},
            files=(),
            split=split,
            option=option,
        )
    if local.is_dir():
        return _folder(entry, local, given, arguments, split, option)
    if local.exists():
        return Source(
            path=path,
            loader=_kind(entry, local, option),
            arguments={**arguments, "data_files": str(local)},
            files=(local,),
            split=split,
            option=option,
        )
    if path in set(_LOADERS.values()) and given:
        files = tuple(_matched(given, Path(), option))
        return Source(
            path=path,
            loader=path,
            arguments={**arguments, "data_files": [str(file) for file in files]},
            files=files,
            split=split,
            option=option,
        )
    if _looks_local(path):
        raise UserError(_missing(local, option))
    if entry.revision:
        arguments["revision"] = entry.revision
    if given:
        arguments["data_files"] = given
    return Source(path=path, loader="hub", arguments=arguments, files=(), split=split, option=option)


def load_rows(source: Source, *, keep_in_memory: bool = False) -> datasets.Dataset:
    """The rows of a source. Raises UserError, with file and line where known, when they cannot be read or there are none."""
    try:
        if source.loader == "saved":
            rows = _loaded(source)
        else:
            name = source.path if source.loader == "hub" else source.loader
            rows = datasets.load_dataset(name, split=source.split, keep_in_memory=keep_in_memory, **source.arguments)
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == 28):
            raise
        raise _refused(source, error) or UserError(_unreadable(source, error)) from error
    if len(rows) == 0:
        raise UserError(_problem("no-rows", source, f"split '{source.split}' has no rows", "give a file or a split that has some"))
    return rows


def require_columns(rows: datasets.Dataset, columns: tuple[str, ...], source: Source, kind: str) -> None:
    """Raise UserError when a column that this type of dataset reads is missing, with the columns there are."""
    missing = [column for column in columns if column not in rows.column_names]
    if not missing:
        return
    there = ", ".join(f"`{name}`" for name in rows.column_names)
    nearest = next(iter(difflib.get_close_matches(missing[0], rows.column_names, n=1)), None)
    fix = (
        f"name the right columns (`field_…`), choose the `type` that fits, or rename the column '{nearest}'"
        if nearest
        else _column_fix(rows, kind)
    )
    raise UserError(
        _problem(
            "missing-column",
            source,
            f"{kind} reads column {', '.join(f'`{name}`' for name in missing)}, which is not there; the columns are {there}",
            fix,
        )
    )


def _column_fix(rows: datasets.Dataset, kind: str) -> str:
    names = set(rows.column_names)
    if {"messages", "conversations"} & names:
        found = sorted({"messages", "conversations"} & names)[0]
        extra = (
            ""
            if found == "messages"
            else " with `field_messages: conversations` (and `message_property_mappings: {role: from, content: value}` for ShareGPT rows)"
        )
        return f"use `type: chat_template`{extra}"
    if {"instruction", "output"} <= names:
        return "use `type: alpaca`"
    if "text" in names:
        return "use `type: completion`"
    if kind.startswith("rows without a type"):
        return "say with `type:` how these rows become prompts (chat_template, alpaca, completion, …)"
    return "choose the `type` that fits these columns, or describe them with `type: {field_instruction: …, field_output: …, format: …}`"


def _folder(entry: Any, folder: Path, given: list[str], arguments: dict[str, Any], split: str, option: str) -> Source:
    saved = (folder / "state.json").exists() or (folder / "dataset_dict.json").exists()
    if saved:
        files = tuple(sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix in {".arrow", ".json"}))
        return Source(path=str(folder), loader="saved", arguments=arguments, files=files, split=split, option=option)
    if given:
        files = tuple(_matched(given, folder, option))
    else:
        files = tuple(
            sorted(
                file
                for file in folder.rglob("*")
                if file.is_file() and _ending(file) in _LOADERS and not file.name.startswith((".", "README"))
            )
        )
        kinds = {_LOADERS[_ending(file)] for file in files} - {"text"} or {"text"}
        if len(kinds) > 1 and entry.ds_type is None:
            raise UserError(
                Problem(
                    code="conflict",
                    message=f"{folder} has data files of several kinds: {', '.join(sorted(kinds))}",
                    path=f"{option}.path",
                    fix="say which with `ds_type`, or name the files with `data_files`",
                )
            )
        kind = entry.ds_type or next(iter(kinds))
        files = tuple(file for file in files if _LOADERS[_ending(file)] == kind)
    if not files:
        raise UserError(
            Problem(
                code="no-rows",
                message=f"the folder {folder} has no data files",
                path=f"{option}.path",
                fix="it needs json, jsonl, csv, parquet, arrow or text files",
            )
        )
    named = [file for file in files if file.stem.lower().startswith(_split_name(split))]
    several = {
        part for part in ("train", "test", "validation", "valid", "dev") if any(file.stem.lower().startswith(part) for file in files)
    }
    if not given and named and several - {_split_name(split)}:
        # A folder with train.jsonl and test.jsonl has splits by file name, as on the Hub.
        files = tuple(named)
    loader = entry.ds_type or _kind(entry, files[0], option)
    # The files are one split for the loader, whatever their names; the recipe's split says which slice of it.
    return Source(
        path=str(folder),
        loader=loader,
        arguments={**arguments, "data_files": [str(file) for file in files]},
        files=files,
        split="train" + split[len(_split_name(split)) :],
        option=option,
    )


def _split_name(split: str) -> str:
    return split.split("[")[0].strip()


def _kind(entry: Any, file: Path, option: str) -> str:
    kind = entry.ds_type or _LOADERS.get(_ending(file))
    if kind is None:
        raise UserError(
            Problem(
                code="unknown-name",
                message=f"the ending of {file} does not say what kind of data it is",
                path=f"{option}.path",
                fix="say it with `ds_type`: json, csv, parquet, arrow or text",
            )
        )
    return str(kind)


def _ending(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _matched(patterns: list[str], folder: Path, option: str) -> Iterator[Path]:
    for pattern in patterns:
        plain = Path(pattern).expanduser() if Path(pattern).expanduser().is_absolute() else folder / Path(pattern).expanduser()
        found = (
            [plain]
            if plain.is_file()
            else sorted(Path(plain.anchor or ".").glob(str(plain.relative_to(plain.anchor)) if plain.anchor else str(plain)))
        )
        files = [file for file in found if file.is_file()]
        if not files:
            raise UserError(_missing(plain, f"{option}.data_files"))
        yield from files


def _looks_local(path: str) -> bool:
    return path.startswith((".", "/", "~")) or path.count("/") > 1 or _ending(Path(path)) in _LOADERS


def _missing(file: Path, option: str) -> Problem:
    beside = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
    nearest = next(iter(difflib.get_close_matches(file.name, beside, n=1)), None)
    fix = f"did you mean {file.parent / nearest}?" if nearest else f"check the path; it is looked up from {Path.cwd()}"
    return Problem(code="missing-file", message=f"there is no file or folder {file}", path=option, suggestion=nearest, fix=fix)


def _loaded(source: Source) -> datasets.Dataset:
    rows = datasets.load_from_disk(source.path)
    name = _split_name(source.split)
    if isinstance(rows, datasets.DatasetDict):
        if name not in rows:
            raise UserError(
                _problem(
                    "unknown-name", source, f"there is no split '{name}'; the splits are {', '.join(rows)}", "choose one with `split:`"
                )
            )
        rows = rows[name]
    sliced = source.split[len(name) :].strip()
    if not sliced:
        return rows
    bounds = datasets.ReadInstruction.from_spec(f"train{sliced}").to_absolute({"train": len(rows)})
    return datasets.concatenate_datasets(
        [rows.select(range(bound.from_ or 0, len(rows) if bound.to is None else bound.to)) for bound in bounds]
    )


def _refused(source: Source, error: Exception) -> UserError | None:
    if source.loader != "hub":
        return None
    revision = source.arguments.get("revision")
    return refusal(error, name=source.path, option=f"{source.option}.path", revision=revision, what="dataset")


def _unreadable(source: Source, error: Exception) -> Problem:
    if source.loader == "json":
        for file in source.files:
            bad = _bad_json_line(file)
            if bad:
                return Problem(
                    code="unreadable",
                    message=f"not valid JSON: {bad[1]}",
                    file=str(file),
                    line=bad[0],
                    fix="mend or remove this line; every line must be one object",
                )
    cause = error.__cause__ or error
    text = " ".join(str(cause).split()) or type(cause).__name__
    if source.loader == "hub":
        fix = "check the name (owner/dataset), its `name` and `split`, your network and HF_TOKEN; a local file needs its path"
        return _problem("unreadable", source, f"cannot load this dataset from the Hub: {text}", fix)
    return _problem("unreadable", source, f"cannot be read as {source.loader}: {text}", "check the file, or say what it is with `ds_type`")


def _bad_json_line(file: Path) -> tuple[int, str] | None:
    """Line number and complaint of the first line that is not JSON; None when the file is one document, or has no such line."""
    if _ending(file) == ".json" or file.suffix.lower() in _PACKED:
        try:
            json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            if "Extra data" not in error.msg:
                return (error.lineno, error.msg) if _ending(file) == ".json" else None
        except (UnicodeDecodeError, OSError):
            return None
        else:
            return None
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                return number, str(error)
            if not isinstance(row, dict):
                return number, f"a row must be an object, found {type(row).__name__}"
    return None


def _digest(file: Path) -> str:
    digest = xxhash.xxh3_128()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _problem(code: str, source: Source, message: str, fix: str) -> Problem:
    return Problem(code=code, message=f"{source.option}: {message}", place=source.path, path=f"{source.option}.path", fix=fix)
