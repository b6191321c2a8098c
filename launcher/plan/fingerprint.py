"""What the inputs of a run are, by content: the local data files and the model's config."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

LOCAL_INPUTS = (
    "base_model",
    "base_model_config",
    "tokenizer_config",
    "processor_config",
    "lora_model_dir",
    "deepspeed",
    "chat_template_jinja",
)
"""Options that may name a file or a folder of this machine, besides the data."""
HASHED_BYTES = 256 * 2**20
"""A file is hashed up to here, then by its size alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A local data file: SHA-256 of its first 256 MiB and its size."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPin:
    """What pins a recipe's data: the local files, and `remote` for sources elsewhere, as `id@revision`."""

    files: tuple[DataFile, ...]
    remote: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """One hash over all of it."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.path}\0{file.sha256}\0{file.size}\n".encode())
        for source in self.remote:
            digest.update(f"{source}\n".encode())
        return digest.hexdigest()

    @property
    def unpinned(self) -> tuple[str, ...]:
        """Remote sources without a revision, which may change under the plan."""
        return tuple(source for source in self.remote if source.endswith("@"))


def pin_data(config: TrainingConfig) -> DataPin:
    """The pin of every data source of a recipe, and of the files of its plugins."""
    from runtime.plugins.files import plugin_files

    files: list[DataFile] = []
    remote: list[str] = []
    for source in [*(config.datasets or ()), *(config.test_datasets or ())]:
        path = Path(source.path or "").expanduser()
        named = getattr(source, "data_files", None)
        if named:
            folder = path if path.is_dir() else Path()
            files += [hash_file(file) for name in ([named] if isinstance(named, str) else named) for file in _named(folder, name)]
        elif path.is_file():
            files.append(hash_file(path))
        elif path.is_dir():
            files += [hash_file(file) for file in _files_of(path)]
        else:
            remote.append(f"{source.path}@{getattr(source, 'revision', None) or ''}")
    # The code of the recipe's own plugins decides what is learnt as much as its rows do.
    files += [hash_file(file) for file in plugin_files(config)]
    return DataPin(files=tuple(files), remote=tuple(remote))


def pin_inputs(config: TrainingConfig) -> tuple[DataFile, ...]:
    """The pins of the other local files and folders that a recipe names: a model, an adapter, templates."""
    found: list[DataFile] = []
    for option in LOCAL_INPUTS:
        value = getattr(config, option, None)
        if not isinstance(value, str) or "://" in value or "\n" in value or len(value) > 1024:
            continue
        path = Path(value).expanduser()
        if path.is_file():
            found.append(hash_file(path))
        elif path.is_dir():
            found += [hash_file(file) for file in _files_of(path)]
    return tuple(found)


def _named(folder: Path, name: str) -> list[Path]:
    """The files below `folder` that `data_files` means by one name, which may be a pattern."""
    if "*" not in name:
        return [folder / name] if (folder / name).is_file() else []
    base, pattern = (Path("/"), name.lstrip("/")) if Path(name).is_absolute() else (folder, name)
    return sorted(file for file in base.glob(pattern) if file.is_file())


def _files_of(folder: Path) -> Iterable[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))


def hash_file(file: Path) -> DataFile:
    """The pin of one file. Raises OSError when it cannot be read."""
    digest = hashlib.sha256()
    left = HASHED_BYTES
    with file.open("rb") as stream:
        while left > 0 and (chunk := stream.read(min(left, 2**20))):
            digest.update(chunk)
            left -= len(chunk)
    return DataFile(path=str(file), sha256=digest.hexdigest(), size=file.stat().st_size)
