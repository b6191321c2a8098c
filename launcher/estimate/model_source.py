"""Where a model's shape is read from: a folder, a config.json, the shipped table, the Hugging Face cache. Never the network."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.estimate.architectures import UnknownArchitectureError, facts_from_config
from launcher.estimate.facts import ModelFacts
from launcher.estimate.known_models import known_config, known_models
from runtime.config.problem import Problem, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """The facts of a model, and where they were read: the path of a file, or `shipped facts`. `folder` holds weights when the model is local."""

    facts: ModelFacts
    origin: str
    folder: Path | None = None


def find_model(
    model: str, *, model_config: Path | None = None, environment: Mapping[str, str] | None = None, changes: Mapping[str, Any] | None = None
) -> ModelSource:
    """The facts of `base_model`. `changes` are laid over its config, as the runtime does. Raises UserError when nothing here knows the model."""
    if model_config is not None:
        return _read(model_config / "config.json" if model_config.is_dir() else model_config, model, changes, folder=None)
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _read(folder / "config.json", model, changes, folder=folder)
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise UserError(
            Problem(
                code="missing-file",
                path="base_model",
                place=model,
                message="there is no such model folder",
                fix="check `base_model`: a folder here, or a Hub id such as org/model",
            )
        )
    cached = _in_cache(model, os.environ if environment is None else environment)
    if cached is not None:
        return _read(cached, model, changes, folder=None)
    shipped = known_config(model)
    if shipped is not None:
        return ModelSource(facts=facts_from_config({**shipped, **(changes or {})}, name=model), origin="shipped facts")
    raise UserError(_unknown(model))


def _read(file: Path, model: str, changes: Mapping[str, Any] | None, *, folder: Path | None) -> ModelSource:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise TypeError("it is not a JSON object")
        facts = facts_from_config({**config, **(changes or {})}, name=model)
    except FileNotFoundError:
        raise UserError(
            Problem(
                code="missing-file",
                place=str(file),
                message="there is no such model config",
                fix="name the config.json of the model, or its folder",
            )
        ) from None
    except (OSError, ValueError, TypeError, UnknownArchitectureError) as error:
        raise UserError(
            Problem(
                code="wrong-type",
                place=str(file),
                message=f"this is not a model config the estimate can read: {error}",
                fix="pass the model's own config.json with --model-config",
            )
        ) from error
    return ModelSource(facts=facts, origin=str(file), folder=folder)


def _in_cache(model: str, environment: Mapping[str, str]) -> Path | None:
    """config.json of the newest snapshot in the Hugging Face cache."""
    home = Path(environment.get("HF_HOME") or Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface")
    hub = Path(environment.get("HF_HUB_CACHE") or home / "hub")
    snapshots = hub / f"models--{model.replace('/', '--')}" / "snapshots"
    try:
        found = [path for path in snapshots.glob("*/config.json") if path.is_file()]
    except OSError:
        return None
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def _unknown(model: str) -> Problem:
    import difflib

    near = difflib.get_close_matches(model.lower(), known_models(), n=1, cutoff=0.75)
    hint = f"; the nearest known one is {near[0]}" if near else ""
    return Problem(
        code="unknown-model",
        path="base_model",
        place=model,
        message=f"unknown model: its shape is neither here nor in the Hugging Face cache{hint}",
        fix="pass its config.json: --model-config config.json",
    )
