"""Finding and importing the plugin that an entry of `plugins:` names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from runtime.config.spelling import nearest
from runtime.plugins.plugin import HOOKS, NOT_CALLED, Plugin

FOLDER = "plugins"
"""Folder beside a recipe that plugins are looked for in, after the recipe's own."""


class PluginError(Exception):
    """An entry that cannot be used: what is wrong, what to do, and the name that was probably meant."""

    def __init__(self, message: str, fix: str, suggestion: str | None = None) -> None:
        self.message, self.fix, self.suggestion = message, fix, suggestion
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPlugin:
    """A plugin ready for use. `files` are its Python files and `root` the folder they are imported from; both empty when it is an installed package."""

    entry: str
    instance: Plugin
    arguments: type[BaseModel] | None
    root: Path | None
    files: tuple[Path, ...]
    doubts: tuple[str, ...] = ()


def search_folders(file: str) -> tuple[Path, ...]:
    """Where plugins of the recipe `file` are looked for, after everything that is installed or on PYTHONPATH."""
    beside = Path(file).absolute().parent
    return (beside, beside / FOLDER)


def load_plugin(entry: str, folders: Sequence[Path]) -> LoadedPlugin:
    """The plugin that `entry`, the import path of its class, names. Its module runs. Raises PluginError for whatever is wrong with it."""
    module_name, _, class_name = entry.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in entry.split(".")):
        raise PluginError(f"'{entry}' is no import path of a class", "Write `module.ClassName`, such as `my_plugin.MyPlugin`.")
    with _searching(folders) as loaded:
        module = _imported(module_name, folders)
        kind = _class_in(module, class_name)
        instance, doubts = _made(kind, entry)
        arguments = _arguments(instance, entry, folders)
        modules = [module_name] + ([arguments.__module__] if arguments is not None else [])
    root, files = _files(modules, loaded)
    return LoadedPlugin(entry=entry, instance=instance, arguments=arguments, root=root, files=files, doubts=doubts)


def forget_plugins() -> None:
    """Have the next recipe's plugins imported anew: their files may have changed, or another recipe may have others of the same names."""
    for name in _brought:
        sys.modules.pop(name, None)
    _brought.clear()


# Folders that this process put on the import path for the recipe it looks at, and the modules that came with its plugins.
_searched: list[str] = []
_brought: set[str] = set()


@contextmanager
def _searching(folders: Sequence[Path]) -> Iterator[set[str]]:
    """Have `folders` at the end of the import path from here on: a neighbour called `datasets` must not replace the library.

    Two recipes of one process may each have a `my_plugin.py`: what another recipe brought is forgotten first. Yields the names of the modules that
    this recipe's plugins brought so far.
    """
    wanted = [str(folder) for folder in folders]
    if wanted != _searched:
        for folder in _searched:
            if folder in sys.path:
                sys.path.remove(folder)
        forget_plugins()
        _searched[:] = wanted
    sys.path.extend(folder for folder in wanted if folder not in sys.path)
    importlib.invalidate_caches()
    before = set(sys.modules)
    try:
        # What a module prints would end up in the one JSON object of a command.
        with redirect_stdout(sys.stderr):
            yield _brought
    finally:
        places = tuple(Path(folder) for folder in wanted)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules.get(name), "__file__", None) or ""
            if name.partition(".")[0] not in ("runtime", "launcher") and not _installed(file) and any(_under(file, at) for at in places):
                _brought.add(name)


def _imported(name: str, folders: Sequence[Path]) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing and (name == missing or name.startswith(missing + ".")):
            raise PluginError(
                f"there is no module '{missing}'",
                f"Put it beside the recipe, in {folders[0]}, or on PYTHONPATH; or `pip install` the package that has it.",
            ) from None
        if missing.partition(".")[0] == "axolotl":
            raise PluginError(
                f"'{name}' imports {missing}, which is not installed",
                "Take the base class from here: `from runtime.plugins import Plugin`.",
            ) from None
        raise PluginError(
            f"'{name}' imports {missing}, which is not installed here",
            f"Import {missing} inside the hooks that use it, so that recipes can be checked where it is missing; or `pip install` it.",
        ) from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"importing '{name}' fails: {said(error)}", "Mend the module; `python -c 'import …'` shows all of it.") from error


def _class_in(module: Any, name: str) -> type[Plugin]:
    found = getattr(module, name, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if _is_plugin(value)]
        suggestion = nearest(name, classes) or (classes[0] if len(classes) == 1 else None)
        entry = f"{module.__name__}.{suggestion}" if suggestion else None
        fix = f"did you mean '{entry}'?" if entry else "It needs a class that inherits from `runtime.plugins.Plugin`."
        raise PluginError(f"{_where(module)} has no class '{name}'", fix, entry)
    if not _is_plugin(found):
        raise PluginError(
            f"'{name}' in {_where(module)} is no plugin",
            "Make it a class that inherits from `runtime.plugins.Plugin`; it brings the hooks.",
        )
    plugin: type[Plugin] = found
    return plugin


def _is_plugin(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Plugin) and value is not Plugin


def _made(kind: type[Plugin], entry: str) -> tuple[Plugin, tuple[str, ...]]:
    for name, why in NOT_CALLED.items():
        if hasattr(kind, name):
            raise PluginError(f"'{entry}' has the hook {name}, which is not called here", f"{why[0].upper()}{why[1:]}.")
    try:
        instance = kind()
    except Exception as error:
        raise PluginError(f"'{entry}' cannot be made: {said(error)}", "Its `__init__` must need no arguments.") from error
    own = [name for cls in kind.__mro__ if cls not in (Plugin, object) for name, value in vars(cls).items() if callable(value)]
    near = {name: nearest(name, HOOKS) for name in own if name not in HOOKS and not name.startswith("_")}
    return instance, tuple(f"{name} is no hook and is never called; {hook} is one" for name, hook in near.items() if hook)


def _arguments(instance: Plugin, entry: str, folders: Sequence[Path]) -> type[BaseModel] | None:
    try:
        named: Any = instance.get_input_args()
    except Exception as error:
        raise PluginError(
            f"get_input_args of '{entry}' fails: {said(error)}", "It returns a pydantic model, or its import path."
        ) from error
    if isinstance(named, str):
        module_name, _, class_name = named.rpartition(".")
        named = getattr(_imported(module_name, folders), class_name, None) if module_name else None
    elif named is None:
        return None
    if not (isinstance(named, type) and issubclass(named, BaseModel)):
        raise PluginError(
            f"get_input_args of '{entry}' gives no pydantic model",
            "Return a class that inherits from `pydantic.BaseModel`, or its import path.",
        )
    return named


def _files(modules: Sequence[str], brought: set[str]) -> tuple[Path | None, tuple[Path, ...]]:
    """The Python files of `modules`: of a package all of them, of a single module also its neighbours that it has imported."""
    root: Path | None = None
    files: set[Path] = set()
    for name in dict.fromkeys(module.partition(".")[0] for module in modules):
        module = sys.modules[name]
        places = [Path(place) for place in getattr(module, "__path__", ())] or [Path(getattr(module, "__file__", None) or "")]
        if any(_installed(str(place)) for place in places):
            continue
        root = root or places[0].parent
        for place in places:
            files.update(place.rglob("*.py") if place.is_dir() else [place])
    if root is not None:
        neighbours = [getattr(sys.modules.get(name), "__file__", None) for name in brought]
        files.update(Path(file) for file in neighbours if file and _under(file, root))
    return root, tuple(sorted(file for file in files if root is not None and _under(str(file), root)))


def _installed(file: str) -> bool:
    return any(part in ("site-packages", "dist-packages") for part in Path(file).parts) or _under(
        file, Path(importlib.__file__).parent.parent
    )


def _under(file: str, folder: Path) -> bool:
    return bool(file) and Path(file).absolute().is_relative_to(folder)


def _where(module: Any) -> str:
    return str(getattr(module, "__file__", None) or module.__name__)


def said(error: BaseException) -> str:
    """An exception of a plugin in one line: its kind, its first line, and the place in the plugin it came from."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename or '?').name}:{error.lineno})"
    first = (str(error).strip().splitlines() or [""])[0]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not _installed(frame.filename)
    ]
    here = str(Path(__file__).parent)
    frames = [frame for frame in frames if not frame.filename.startswith(here)]
    at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if first else ''}{first}{at}"
