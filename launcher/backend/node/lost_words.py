"""What a machine sealed and could not tell of any more: its last seconds before it was taken away."""

from __future__ import annotations

from launcher.state.stored_run import StoredRun
from runtime.checkpoint.store import get_bytes
from runtime.checkpoint.stored import file_key, newest_manifest
from runtime.config.problem import UserError
from runtime.events import TAIL

_LIMIT = 1 << 20


def lost_words(stored: StoredRun, told: str) -> str:
    """Events, a line each, that the newest sealed checkpoint in the storage keeps and the event log `told` does not have. Empty when it cannot be read."""
    place = stored.place
    manifest = place.patiently(lambda: newest_manifest(place))
    if manifest is None:
        return ""
    try:
        keys = [file_key(place, manifest, file) for file in manifest.files if file.path == TAIL]
        kept = get_bytes(place.store, keys[0], limit=_LIMIT).decode("utf-8", errors="replace") if keys else ""
    except (OSError, UserError):
        return ""
    known = set(told.splitlines())
    return "".join(f"{line}\n" for line in kept.splitlines() if line not in known)
