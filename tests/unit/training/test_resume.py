"""Where a run goes on from, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.manifest import Kind
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.training.folder import RunFolder
from runtime.training.resume import Start, find_start


def put(folder: Path, step: int, kind: Kind = "checkpoint") -> Path:
    staging = new_staging(folder.parent)
    (staging / "model").write_bytes(f"{kind} of {step}".encode())
    seal(staging, folder, step=step, config_hash="h", world_size=1, run="run", created=1.0, kind=kind)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> RunStore:
    return RunStore(store=DirectoryStore(tmp_path / "store"), run="run")


def start(tmp_path: Path, place: RunStore) -> Start:
    config = SimpleNamespace(resume_from_checkpoint=None, auto_resume_from_checkpoints=None)
    return find_start(config, RunFolder(path=tmp_path / "out"), supervised=True, stores=[place], config_hash="h")


def test_newer_weights_that_cannot_be_gone_on_from_are_told(tmp_path: Path, place: RunStore) -> None:
    folder = RunFolder(path=tmp_path / "out")
    assert start(tmp_path, place) == Start()
    put(folder.weights, 7, "weights")
    assert start(tmp_path, place).warnings[0].startswith(f"the weights of step 7 are in {folder.weights}, saved when")
    seal_in_store(place, put(tmp_path / "gone" / "weights", 9, "weights"), writer="1-aaaa")
    put(folder.checkpoint(5), 5)
    (told,) = start(tmp_path, place).warnings
    assert told.startswith(f"the weights of step 9 are in {place.url('weights')}, ")
    assert "--weights" in told
    assert "goes on from step 5" in told
    put(folder.checkpoint(9), 9)
    assert start(tmp_path, place).warnings == ()
