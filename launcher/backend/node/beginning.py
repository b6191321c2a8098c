"""What a machine brings together before it trains: the run's folder, config, inputs, record and events, from the task and the storage."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from launcher.backend.node.lost_words import lost_words
from launcher.backend.node.place import Place
from launcher.backend.node.preparing import backend_here
from launcher.state.runs import RunFolder
from launcher.state.stored_inputs import fetch_inputs
from launcher.state.stored_run import EVENTS, StoredRun, StoredText
from launcher.task.inputs import INPUTS
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import Problem, UserError
from runtime.plugins.loading import FOLDER
from runtime.record import RunRecord, write_atomic

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


def begin(home: Path, place: Place) -> tuple[RunFolder, TrainingConfig, StoredRun]:
    """The run's state folder here with its config, plugins and inputs, its config as read, and its storage. Raises UserError."""
    folder = RunFolder(path=home / "state" / "runs" / place.run)
    folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(folder.config_path, place.config_text.encode())
    stored = StoredRun(place=_place_of(_storage_in(place.config_text), place.run))
    # Before the config is read, since its plugins are among them. A task started by hand has brought its inputs along.
    fetch_inputs(stored, home / INPUTS)
    plugins = home / INPUTS / FOLDER
    link = folder.path / FOLDER
    if plugins.is_dir() and not link.exists():
        link.symlink_to(plugins, target_is_directory=True)
    from runtime.config.load import load_config

    checked = load_config(folder.config_path)
    assert checked.config is not None
    return folder, checked.config, stored


def record_here(place: Place, config: TrainingConfig, home: Path, before: RunRecord | None) -> RunRecord:
    """The run's record with what is this machine's own, going on from the one `before` that the storage has."""
    from runtime.config.load import config_hash

    here = RunRecord(
        run=place.run,
        recipe=place.recipe or place.run,
        backend="sky",
        output_dir=str(home / config.output_dir),
        storage=config.launch.storage,
        created=time.time(),
        processes=config.launch.processes or 1,
        python=str(backend_here(home, os.environ).interpreter()),
        cwd=str(home),
        chaos=list(place.chaos),
        config_hash=config_hash(config),
    )
    if before is None:
        return here
    kept = {
        "recipe": before.recipe,
        "created": before.created,
        "attempts": before.attempts,
        "state": before.state,
        "exit_code": before.exit_code,
        "sweep": before.sweep,
        "values": before.values,
    }
    return here.model_copy(update=kept)


def bring_events(stored: StoredRun, output_dir: Path) -> int:
    """Continue the event log of the machines before; returns how many bytes of it the storage has already."""
    path = output_dir / "events.jsonl"
    text = StoredText(place=stored.place, name=EVENTS).rest()
    content = text.encode()
    if not path.exists():
        output_dir.mkdir(parents=True, exist_ok=True)
        # What was sealed and not told is not trained again, so nobody else would tell it.
        if whole := content + lost_words(stored, text).encode():
            write_atomic(path, whole)
    with suppress(OSError):
        # On the same machine again: what was written and not told before is told now.
        return min(path.stat().st_size, len(content)) if path.exists() else 0
    return 0


def _storage_in(config_text: str) -> str | None:
    content = yaml.safe_load(config_text)
    launch = content.get("launch") if isinstance(content, dict) else None
    storage = launch.get("storage") if isinstance(launch, dict) else None
    return storage if isinstance(storage, str) else None


def _place_of(storage: str | None, run: str) -> RunStore:
    if storage is None:
        raise UserError(
            Problem(
                code="missing",
                path="launch.storage",
                message="a rented machine keeps nothing, so a run there needs a storage",
                fix="add --storage s3://BUCKET/PREFIX (or gs://, az://)",
            )
        )
    return RunStore(store=open_store(storage), run=run)
