"""What a checkpoint knows of steps that its machine did not live to tell."""

from __future__ import annotations

import json
from pathlib import Path

from launcher.backend.node.lost_words import lost_words
from launcher.state.stored_run import StoredRun
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.stored import RunStore

TOLD = '{"time": 1.0, "step": 1, "kind": "loss", "loss": 3.5}\n{"time": 2.0, "kind": "stage"}\n'


def test_a_sealed_step_that_was_not_told_is_told_later(tmp_path: Path) -> None:
    stored = StoredRun(place=RunStore(store=DirectoryStore(tmp_path), run="r"))
    assert lost_words(stored, TOLD) == ""
    history = [{"step": 1, "loss": 3.5}, {"step": 2, "loss": 3.25}, {"step": 2, "eval_loss": 9.0}]
    for name, content in {"trainer_state.json": json.dumps({"log_history": history}), "manifest.json": "{}"}.items():
        stored.place.store.put_bytes(stored.place.key(f"checkpoints/step-00000002/{name}"), content.encode())
    assert json.loads(lost_words(stored, TOLD)) == {"time": 2.0, "step": 2, "kind": "loss", "loss": 3.25}
    assert lost_words(stored, TOLD + lost_words(stored, TOLD)) == ""
