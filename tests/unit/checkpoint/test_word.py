"""The word in the names of what is sent: kept for a process of the same attempt that takes a dead one's place."""

from __future__ import annotations

import json
import os
from pathlib import Path

from runtime.checkpoint.word import lasting_word


def dead_owners(folder: Path) -> None:
    """The process that kept the word is dead: one by its id that started at another time."""
    kept = folder / ".uploader"
    said = json.loads(kept.read_text())
    host = said["owner"].split("-")[0]
    kept.write_text(json.dumps(said | {"owner": f"{host}-{os.getpid()}-1-0"}))


def test_a_restart_goes_on_with_the_word_of_the_dead(tmp_path: Path) -> None:
    word = lasting_word(tmp_path, attempt=1)
    dead_owners(tmp_path)
    assert lasting_word(tmp_path, attempt=1) == word
    assert [path.name for path in tmp_path.iterdir()] == [".uploader"]


def test_the_word_of_a_living_process_is_its_own(tmp_path: Path) -> None:
    assert lasting_word(tmp_path, attempt=1) != lasting_word(tmp_path, attempt=1)


def test_a_new_life_of_the_run_has_a_new_word(tmp_path: Path) -> None:
    word = lasting_word(tmp_path, attempt=1)
    dead_owners(tmp_path)
    assert lasting_word(tmp_path, attempt=2) != word


def test_damage_and_a_missing_folder_are_no_failure(tmp_path: Path) -> None:
    (tmp_path / ".uploader").write_text("{ torn")
    assert len(lasting_word(tmp_path, attempt=1)) == 8
    assert len(lasting_word(tmp_path / "nowhere", attempt=1)) == 8
