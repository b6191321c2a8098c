import errno
import os
import time
from pathlib import Path

import pytest

from launcher.backend.local.claim import claim, owner_of, release
from launcher.backend.local.machine import _delete_output
from runtime.config.problem import UserError
from runtime.record import RunRecord


def record(run: str, output_dir: Path) -> RunRecord:
    return RunRecord(run=run, recipe="recipe.yml", output_dir=str(output_dir), created=time.time())


def test_a_new_folder_is_made_and_owned(tmp_path):
    output = tmp_path / "a" / "b"
    claim(output, record("one", output))
    assert owner_of(output) == "one"


def test_the_owner_may_claim_again(tmp_path):
    claim(tmp_path, record("one", tmp_path))
    claim(tmp_path, record("one", tmp_path))


def test_another_run_is_told_whose_folder_it_is_and_changes_nothing(tmp_path):
    claim(tmp_path, record("one", tmp_path))
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(UserError, match="belongs to run 'one'") as caught:
        claim(tmp_path, record("two", tmp_path))
    assert "launcher resume one" in caught.value.problems[0].fix
    assert (tmp_path / "run.json").read_bytes() == before


def test_results_of_an_unknown_run_are_not_built_upon(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no known run"):
        claim(tmp_path, record("one", tmp_path))


def test_a_folder_with_other_files_can_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    claim(tmp_path, record("one", tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="in the way") as caught:
        claim(tmp_path / "out", record("one", tmp_path / "out"))
    assert caught.value.problems[0].place == str(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="no permission"):
        claim(tmp_path / "out", record("one", tmp_path / "out"))


def test_release_takes_back_only_its_own_claim(tmp_path):
    output = tmp_path / "out"
    claim(output, record("one", output))
    release(output, "two")
    assert owner_of(output) == "one"
    release(output, "one")
    assert not output.exists()


def test_all_that_a_run_leaves_goes_with_it(tmp_path):
    output = tmp_path / "out"
    claim(output, record("one", output))
    for name in ("checkpoints/step-00000010", "final", "weights", "portions/step-00000010", ".activations"):
        (output / name).mkdir(parents=True)
    for name in (".uploader", "events.jsonl", "train.lock", "portions/stored"):
        (output / name).write_text("x")
    assert _delete_output(output, "one") == []
    assert not output.exists()


def test_a_full_disk_is_named_and_leaves_no_half_made_claim(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    output = tmp_path / "a" / "out"
    with pytest.raises(UserError, match="the disk is full"):
        claim(output, record("one", output))
    assert list(tmp_path.iterdir()) == []
