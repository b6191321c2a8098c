"""The shipped shapes of well-known models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).resolve().parent.parent / "data" / "models.json"


def known_config(model: str) -> Mapping[str, Any] | None:
    """The shape-giving part of the config.json of a Hub id, None for a model that is not shipped. Case does not matter."""
    return _configs().get(model.lower())


def known_models() -> tuple[str, ...]:
    """All shipped ids, lower case."""
    return tuple(_configs())


@cache
def _configs() -> dict[str, dict[str, Any]]:
    table = json.loads(_FILE.read_text(encoding="utf-8"))
    return {model.lower(): entry["config"] for entry in table["models"] for model in entry["ids"]}
