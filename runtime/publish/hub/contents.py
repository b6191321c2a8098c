"""Which files of a sealed folder go where in a model repository, and which of an earlier push they replace."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from runtime.checkpoint.layout import CHECKPOINTS, MANIFEST
from runtime.checkpoint.manifest import read_manifest

Strategy = Literal["end", "every_save", "checkpoint", "all_checkpoints"]
LAST = "last-checkpoint"
CHANGED_BASE = "changed_base.safetensors"

# What a model is loaded from. Of another model, left beside the one that is pushed, any of these would be loaded instead of it or with it.
_MODEL = re.compile(
    r"(adapter_config\.json|adapter_model.*\.(safetensors|bin)|(model|pytorch_model)[^/]*\.(safetensors|bin)|(model|pytorch_model)[^/]*\.index\.json"
    r"|config\.json|generation_config\.json|chat_template\.(jinja|json)|additional_chat_templates/[^/]+)"
)
_TOKENIZER = re.compile(r"(tokenizer.*|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|spiece\.model|[^/]+\.py)")
# Ours, about the folder they lie in.
_NOTES = frozenset({MANIFEST, "config.yml", "base.json", "facts.json"})


def strategy_of(hub_strategy: str | None) -> Strategy:
    """What is pushed when; unset means `every_save`, as in transformers."""
    return hub_strategy or "every_save"  # type: ignore[return-value]


def model_files(folder: Path) -> dict[str, Path]:
    """All files of a sealed final or merged model, the manifest included, at the repository's top."""
    return {name: folder / name for name in _sealed(folder)}


def checkpoint_files(folder: Path, strategy: Strategy) -> dict[str, Path]:
    """Of a sealed checkpoint: the model at the repository's top and, as the strategy says, all that a resume needs in a folder."""
    names = _sealed(folder)
    # Before its adapter is merged, a base that has changed makes no model that can be loaded.
    loadable = CHANGED_BASE not in names
    files = {name: folder / name for name in names if loadable and (_MODEL.fullmatch(name) or _TOKENIZER.fullmatch(name))}
    prefix = {"checkpoint": LAST, "all_checkpoints": f"{CHECKPOINTS}/{folder.name}"}.get(strategy)
    return files | ({f"{prefix}/{name}": folder / name for name in names} if prefix else {})


def stale(there: Collection[str], files: Mapping[str, Path]) -> set[str]:
    """The names in the repository that an earlier push left and that `files` replace: another model's files at the top, and what a pushed checkpoint's folder held before."""
    folders = {_checkpoint_folder(name) for name in files} - {None}
    at_top = any(_MODEL.fullmatch(name) for name in files)
    old = {name for name in there if (at_top and (_MODEL.fullmatch(name) or name in _NOTES)) or _checkpoint_folder(name) in folders}
    return old - files.keys()


def _checkpoint_folder(name: str) -> str | None:
    match = re.match(rf"({LAST}|{CHECKPOINTS}/step-\d+)/", name)
    return match[1] if match is not None else None


def _sealed(folder: Path) -> list[str]:
    return sorted([*(file.path for file in read_manifest(folder).files), MANIFEST])
