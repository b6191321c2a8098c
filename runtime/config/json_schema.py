"""The JSON Schema of recipes: what editors complete, explain and underline from."""

from __future__ import annotations

from typing import Any

from runtime.config import choices
from runtime.config.effects import effect_of
from runtime.config.renames import ALIASES, RENAMED
from runtime.config.schema import TrainingConfig

_NAMED = {
    "optimizer": choices.optimizers,
    "lr_scheduler": choices.schedulers,
    "adapter": choices.adapters,
    "attn_implementation": choices.attention,
    "chat_template": choices.chat_templates,
}


def json_schema() -> dict[str, Any]:
    """The schema, with descriptions, known names as examples, and old names marked as deprecated."""
    schema = TrainingConfig.model_json_schema()
    properties: dict[str, Any] = schema["properties"]
    for name, entry in properties.items():
        effect = effect_of(name)
        if effect.kind in ("unsupported", "refused"):
            entry["description"] = f"{entry.get('description', '')} ({effect})".strip()
        if name in _NAMED:
            entry["examples"] = sorted(_NAMED[name]().built)
    for old, new in (*RENAMED.items(), *ALIASES.items()):
        properties[old] = {
            **properties[new],
            "deprecated": True,
            "description": f"Old name of `{new}`. {properties[new].get('description', '')}",
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Fine-tuning recipe"}
