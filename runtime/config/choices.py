"""The names that options with an open list of values take: optimizers, schedules, attention, prompt strategies, templates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runtime.config.resources import data_dir

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What an option may name: what works here, and what is known but not built yet. `what` is the kind of thing in words."""

    what: str
    built: frozenset[str]
    known: frozenset[str] = frozenset()


@cache
def _read(name: str) -> dict[str, list[str]]:
    content: dict[str, list[str]] = json.loads((_HERE.parent / name).read_text(encoding="utf-8"))
    return content


def _from(what: str, built: str, known: str) -> Choices:
    lists = _read("config/choices.json")
    return Choices(what=what, built=frozenset(lists[built]), known=frozenset(lists[known]))


@cache
def optimizers() -> Choices:
    """transformers' optimizers, and those of the public tool's own."""
    return _from("optimizer", "optimizers", "optimizers_not_built")


@cache
def schedulers() -> Choices:
    """transformers' learning-rate schedules, and those of the public tool's own."""
    return _from("learning-rate schedule", "schedulers", "schedulers_not_built")


@cache
def attention() -> Choices:
    """Attention implementations by transformers' names."""
    return _from("attention implementation", "attention", "attention_not_built")


@cache
def experts() -> Choices:
    """Ways to compute the experts of a mixture, by transformers' names."""
    return _from("implementation of experts", "experts", "experts_not_built")


@cache
def adapters() -> Choices:
    """Kinds of adapters."""
    return _from("adapter", "adapters", "adapters_not_built")


@cache
def dataset_types() -> Choices:
    """Prompt strategies, as the data half lists them, and the names preference methods use."""
    lists = _read("data/names.json")
    known = frozenset(lists["dataset_types_not_built"]) | preference_types()
    return Choices(what="dataset type", built=frozenset(lists["dataset_types"]), known=known - frozenset(lists["dataset_types"]))


@cache
def preference_types() -> frozenset[str]:
    """Dataset types of methods that compare answers."""
    return frozenset(_read("config/choices.json")["preference_types"])


@cache
def chat_templates() -> Choices:
    """Chat templates shipped by name, and the words that mean others."""
    shipped = {file.stem for file in (data_dir("templates") / "chat").glob("*.jinja")}
    known = frozenset(_read("config/choices.json")["chat_templates"])
    return Choices(what="chat template", built=frozenset((*shipped, "tokenizer_default", "jinja")), known=known - shipped)
