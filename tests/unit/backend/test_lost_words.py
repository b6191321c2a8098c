"""What a checkpoint knows that its machine did not live to tell."""

from __future__ import annotations

import json
from pathlib import Path

from launcher.backend.node.lost_words import lost_words
from launcher.state.stored_run import StoredRun
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.events import TAIL, EventLog


def test_a_sealed_step_that_was_not_told_is_told_later(tmp_path: Path) -> None:
    stored = StoredRun(place=RunStore(store=DirectoryStore(tmp_path / "store"), run="r"))
    log = EventLog(tmp_path / "events.jsonl")
    log.append("loss", 1, loss=3.5)
    told = log.path.read_text()
    assert lost_words(stored, told) == ""

    log.append("loss", 2, loss=3.25)
    staging = new_staging(tmp_path / "checkpoints")
    log.keep_tail(staging)
    seal(staging, tmp_path / "checkpoints" / "step-00000002", step=2, config_hash="", world_size=1)
    seal_in_store(stored.place, tmp_path / "checkpoints" / "step-00000002", writer="1-aaaa")

    words = lost_words(stored, told)
    assert [json.loads(line)["loss"] for line in words.splitlines()] == [3.25]
    assert lost_words(stored, told + words) == ""


def test_a_long_log_is_kept_from_a_whole_line_on(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for step in range(3000):
        log.append("loss", step, words="x" * 100)
    log.path.open("a").write('{"half')
    log.keep_tail(tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / TAIL).read_text().splitlines()]
    assert steps == list(range(steps[0], 3000))
    assert 1000 < len(steps) < 3000
