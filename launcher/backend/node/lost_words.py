"""Steps that a machine sealed and could not tell of any more: its last seconds before it was taken away."""

from __future__ import annotations

import json
from typing import Any

from launcher.state.stored_run import StoredRun
from runtime.checkpoint.layout import CHECKPOINTS, step_folder
from runtime.checkpoint.store import get_bytes
from runtime.config.problem import UserError

_LIMIT = 64 << 20


def lost_words(stored: StoredRun, told: str) -> str:
    """Loss events, a line each, that the newest sealed checkpoint in the storage knows of and the event log `told` does not. Empty when it cannot be read."""
    sealed = [step for step, complete in stored.place.patiently(stored.place.steps).items() if complete]
    if not sealed:
        return ""
    key = stored.place.key(f"{CHECKPOINTS}/{step_folder(max(sealed))}/trainer_state.json")
    try:
        history = json.loads(get_bytes(stored.place.store, key, limit=_LIMIT))["log_history"]
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return ""
    events = [event for line in told.splitlines() if (event := _event(line)) is not None]
    known = {event.get("step") for event in events if event.get("kind") == "loss"}
    at = events[-1].get("time", 0.0) if events else 0.0
    lost = [row for row in history if isinstance(row, dict) and "loss" in row and row.get("step") not in known]
    return "".join(json.dumps({"time": at, "step": row["step"], "kind": "loss", "loss": row["loss"]}) + "\n" for row in lost)


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
