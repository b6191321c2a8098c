"""What of this machine a run needs elsewhere: local data, models and plugins, each under a name of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.plan.fingerprint import LOCAL_INPUTS
from runtime.plugins.files import plugins_of
from runtime.plugins.loading import FOLDER

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

INPUTS = "inputs"
"""The folder they lie in, beside the run's output."""
_PLAIN_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A local file or folder, and its path below `inputs` where the run is: letters, digits and dashes, whatever it is called here."""

    name: str
    source: Path

    def files(self) -> Iterator[tuple[str, Path]]:
        """Every file of it: its path below `inputs`, and where it is here."""
        if self.source.is_dir():
            for file in sorted(path for path in self.source.rglob("*") if path.is_file()):
                yield f"{self.name}/{file.relative_to(self.source).as_posix()}", file
        else:
            yield self.name, self.source


def with_inputs(config: TrainingConfig, *, cwd: Path) -> tuple[TrainingConfig, tuple[Input, ...]]:
    """The config with its local paths rewritten to `inputs/…`, and what has to lie there. Relative paths of the config start from `cwd`."""
    inputs: list[Input] = []
    update: dict[str, Any] = {}
    for option in LOCAL_INPUTS:
        value = getattr(config, option, None)
        if isinstance(value, str) and (found := _here(value, cwd)) is not None:
            update[option] = _take(inputs, option.replace("_", "-"), found)
    for option in ("datasets", "test_datasets"):
        sources = getattr(config, option, None)
        if sources:
            update[option] = [_source(source, f"{option.replace('_', '-')}-{number}", cwd, inputs) for number, source in enumerate(sources)]
    prepared = getattr(config, "dataset_prepared_path", None)
    if prepared and Path(prepared).expanduser().is_absolute():
        update["dataset_prepared_path"] = "prepared"
    # Plugins keep their names: these are what the recipe imports.
    for plugin in plugins_of(config):
        for file in plugin.files:
            assert plugin.root is not None
            inputs.append(Input(name=f"{FOLDER}/{file.relative_to(plugin.root).as_posix()}", source=file))
    return config.model_copy(update=update), tuple(inputs)


def _source(source: Any, name: str, cwd: Path, inputs: list[Input]) -> Any:
    update: dict[str, Any] = {}
    folder = _here(source.path, cwd) if source.path else None
    if folder is not None:
        update["path"] = _take(inputs, name, folder)
    files = [source.data_files] if isinstance(source.data_files, str) else source.data_files
    if files and (folder is None or not folder.is_dir()):
        moved = [
            _take(inputs, f"{name}-file-{number}", found) if (found := _here(file, cwd)) is not None else file
            for number, file in enumerate(files)
        ]
        update["data_files"] = moved[0] if isinstance(source.data_files, str) else moved
    return source.model_copy(update=update) if update else source


def _take(inputs: list[Input], name: str, source: Path) -> str:
    """The path the run will find `source` at. A file keeps its endings, by which its format is known."""
    endings = "".join(suffix for suffix in source.suffixes[-2:] if _PLAIN_SUFFIX.fullmatch(suffix)) if source.is_file() else ""
    inputs.append(Input(name=name + endings, source=source))
    return f"{INPUTS}/{name}{endings}"


def _here(value: str, cwd: Path) -> Path | None:
    if "://" in value or "\n" in value or "\0" in value or len(value) > 1024:
        return None
    path = cwd / Path(value).expanduser()
    try:
        return path.absolute() if path.exists() else None
    except OSError:
        return None
