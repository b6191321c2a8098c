"""Sending the finished model to the run's store, read back and sealed there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.checkpoint.manifest import read_manifest
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.upload import Uploader
from runtime.checkpoint.word import lasting_word
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.events import EventLog
from runtime.training.outage import Outage
from runtime.training.progress import Progress
from runtime.training.stores import FINAL_WAIT_S, open_run_store
from runtime.training.unsent import wait_sent


def deliver(config: Any, folders: Sequence[Path], *, events: EventLog, patience_s: float = FINAL_WAIT_S) -> str:
    """The address of the run in `launch.storage`, after every one of the sealed `folders` is sealed there too.

    Each is read back; content that is there already is not sent again. Raises UserError with exit code 7 when the store has not taken one
    and nothing of it has moved for `patience_s` seconds. How far it has come is printed to stderr.
    """
    manifest = read_manifest(folders[0])
    run = manifest.run or Path(config.output_dir).expanduser().resolve().name
    store = open_run_store(config, run)
    assert store is not None
    word = lasting_word(Path(config.output_dir).expanduser(), attempt=manifest.attempt)
    events.listeners.append(Outage(say=Progress(speaks=True).say, emit=events.append).hear)
    for folder in folders:
        _send(store, folder, attempt=manifest.attempt, word=word, events=events, patience_s=patience_s)
    return store.url()


def _send(store: RunStore, folder: Path, *, attempt: int, word: str, events: EventLog, patience_s: float) -> None:
    uploader = Uploader(store, attempt=attempt, word=word, on_event=events.append)
    try:
        uploader.submit(folder)
        if wait_sent(uploader, patience_s=patience_s, say=Progress(speaks=True).say, while_moving=True):
            return
        raise UserError(
            uploader.fenced
            or Problem(
                code="not-uploaded",
                path="launch.storage",
                place=store.url(),
                message=f"the model in {folder} is sealed here, but the store did not take it",
                fix="see upload_retry in events.jsonl; `launcher publish RUN` sends it again",
            ),
            exit_code=ExitCode.NOT_VERIFIED,
        )
    finally:
        uploader.close()
