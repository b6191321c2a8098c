"""The Python files that a recipe's own plugins consist of, for whoever runs the recipe elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from runtime.plugins.loading import FOLDER, LoadedPlugin


def plugins_of(config: Any) -> tuple[LoadedPlugin, ...]:
    """The user's plugins that a checked recipe was extended by, in its order."""
    loaded: tuple[LoadedPlugin, ...] = getattr(type(config), "loaded_plugins", ())
    return loaded


def plugin_files(config: Any) -> list[Path]:
    """The files that must be at hand where the recipe runs. Plugins of installed packages have none: there they must be installed, too."""
    return sorted({file for plugin in plugins_of(config) for file in plugin.files})


def copy_plugins(config: Any, folder: Path) -> None:
    """Copy those files to where a recipe in `folder` finds them. The run then keeps the code it was started with, whatever becomes of the original."""
    for plugin in plugins_of(config):
        for file in plugin.files:
            assert plugin.root is not None
            target = folder / FOLDER / file.relative_to(plugin.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
