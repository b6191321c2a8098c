"""The JSON Schema of recipes: what editors complete, explain and underline from."""

from __future__ import annotations

from typing import Any

from runtime.config import choices, extends
from runtime.config.effects import effect_of
from runtime.config.options.datasets import DatasetSource
from runtime.config.options.distributed import FSDP
from runtime.config.renames import ALIASES, DATASET_RENAMED, RENAMED
from runtime.config.schema import TrainingConfig
from runtime.config.shape import options

_NAMED = {
    "optimizer": choices.optimizers,
    "lr_scheduler": choices.schedulers,
    "adapter": choices.adapters,
    "attn_implementation": choices.attention,
    "chat_template": choices.chat_templates,
}


def json_schema(top: type[TrainingConfig] = TrainingConfig) -> dict[str, Any]:
    """The schema, with descriptions, known names as examples, and old names marked as deprecated; `top` is the model of a recipe that plugins extend."""
    schema = top.model_json_schema()
    properties: dict[str, Any] = schema["properties"]
    for name, entry in properties.items():
        effect = effect_of(name)
        if name not in TrainingConfig.model_fields:
            continue
        if effect.kind in ("unsupported", "refused"):
            entry["description"] = f"{entry.get('description', '')} ({effect})".strip()
        if name in _NAMED:
            entry["examples"] = sorted(_NAMED[name]().built)
    sections: dict[str, Any] = schema.get("$defs", {})
    for path, info, model in options():
        inner = sections.get(model.__name__, {}).get("properties", {}).get(path.rpartition(".")[2])
        effect = effect_of(path)
        if inner is not None and info.description:
            # pydantic leaves out a description that is that of the section as well.
            inner.setdefault("description", info.description)
        if inner is not None and effect.kind in ("unsupported", "refused") and not path.startswith("test_datasets"):
            inner["description"] = f"{inner.get('description', '')} ({effect})".strip()
    for holder in (schema, *sections.values()):
        for name, entry in holder.get("properties", {}).items():
            if name not in holder.get("required", ()):
                _let_unset(entry)
    for old, new in RENAMED.items():
        properties[old] = _old(properties[new], new)
    for other, name in ALIASES.items():
        properties[other] = {**properties[name], "description": f"Another name of `{name}`. {properties[name].get('description', '')}"}
    rows = sections[DatasetSource.__name__]["properties"]
    rows |= {old: _old(rows[new], new) for old, new in DATASET_RENAMED.items()}
    shards = sections[FSDP.__name__]["properties"]
    shards |= {f"fsdp_{name}": _old(entry, name) for name, entry in list(shards.items()) if not name.startswith("fsdp_")}
    properties[extends.KEY] = {"type": ["string", "null"], "title": "Extends", "description": extends.DESCRIPTION}
    # What a recipe must say may stand in the one it extends.
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": [extends.KEY]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Fine-tuning recipe"}


def _old(entry: dict[str, Any], new: str) -> dict[str, Any]:
    return {**entry, "deprecated": True, "description": f"Old name of `{new}`. {entry.get('description', '')}"}


def _let_unset(entry: dict[str, Any]) -> None:
    """Allow an empty value, which unsets an option in a recipe, where the option itself takes none."""
    if isinstance(entry.get("type"), str) and entry["type"] != "null" and "enum" not in entry and "const" not in entry:
        entry["type"] = [entry["type"], "null"]
    elif "anyOf" in entry:
        if {"type": "null"} not in entry["anyOf"]:
            entry["anyOf"] = [*entry["anyOf"], {"type": "null"}]
    elif "$ref" in entry or "enum" in entry or "const" in entry:
        kept = {key: entry.pop(key) for key in ("$ref", "enum", "const", "type") if key in entry}
        entry["anyOf"] = [kept, {"type": "null"}]
