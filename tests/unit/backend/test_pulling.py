"""What of a run can be pulled: from its folder first, then from its storage, and only what is sealed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from launcher.backend.pulling import available, pull
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.owner import this_owner
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.checkpoint.transit import Transit
from runtime.config.problem import ExitCode, UserError
from runtime.record import RunRecord


def sealed(final: Path, step: int, kind: Any) -> Path:
    staging = new_staging(final.parent)
    (staging / "model.safetensors").write_bytes(f"{kind} of {step}".encode())
    seal(staging, final, step=step, config_hash="abc", world_size=1, created=1.0, kind=kind)
    return final


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """A run that was preempted at step 25 with no time for a checkpoint; its first machine and its first two checkpoints are gone from here."""
    output, store = tmp_path / "out", tmp_path / "store"
    place = RunStore(store=open_store(str(store)), run="tiny")
    for step in (10, 20):
        seal_in_store(place, sealed(tmp_path / "gone" / f"step-{step:08d}", step, "checkpoint"), writer="1-aaaa")
    seal_in_store(place, sealed(tmp_path / "gone" / "weights", 25, "weights"), writer="1-aaaa")
    sealed(output / "checkpoints" / "step-00000020", 20, "checkpoint")
    (output / "checkpoints" / "step-00000030").mkdir()
    return RunRecord(run="tiny", recipe="r.yml", output_dir=str(output), storage=str(store), created=1.0)


def test_all_kinds_are_listed_once_with_where_they_are(record: RunRecord) -> None:
    found = available(record)
    assert [(one.kind, one.step) for one in found] == [("checkpoint", 10), ("checkpoint", 20), ("weights", 25)]
    assert found[0].source.startswith("file://")
    assert found[1].source == f"{record.output_dir}/checkpoints/step-00000020"
    assert found[2].total_bytes == len("weights of 25")


def test_weights_saved_in_a_hurry_come_from_the_storage(record: RunRecord, tmp_path: Path) -> None:
    pulled = pull(record, tmp_path / "copy", weights=True)
    assert (pulled.path / "model.safetensors").read_bytes() == b"weights of 25"
    assert pulled.source.endswith("/tiny/weights")


def test_a_checkpoint_of_the_storage_alone(record: RunRecord, tmp_path: Path) -> None:
    assert (pull(record, tmp_path / "copy", step=10).path / "model.safetensors").read_bytes() == b"checkpoint of 10"


def test_what_is_not_there_is_told_with_how_to_see_what_is(record: RunRecord, tmp_path: Path) -> None:
    alone = record.model_copy(update={"storage": None})
    for asked in ({"weights": True}, {"step": 10}, {}):
        with pytest.raises(UserError, match="pull tiny --list"):
            pull(alone, tmp_path / "copy", **asked)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_put_there_meanwhile_stays_and_is_told(record: RunRecord, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "to" / "copy"

    class Meanwhile(Transit):
        def expect(self, count: int) -> None:
            super().expect(count)
            if kind == "folder":
                target.mkdir()
            (target / "theirs" if kind == "folder" else target).write_text("theirs")

    with pytest.raises(UserError, match="something is here already"):
        pull(record, target, step=10, transit=Meanwhile())
    assert (target / "theirs" if kind == "folder" else target).read_text() == "theirs"
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_is_told_as_a_full_disk_and_leaves_nothing(record: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.checkpoint.disk.free_bytes", lambda _place: 3)
    with pytest.raises(UserError) as caught:
        pull(record, tmp_path / "full" / "copy", step=10)
    (problem,) = caught.value.problems
    assert (problem.code, problem.place, caught.value.exit_code) == ("disk-full", str(tmp_path / "full" / "copy"), ExitCode.INVALID)
    assert "resume" not in problem.fix
    assert list((tmp_path / "full").iterdir()) == []


def test_what_is_damaged_here_comes_from_the_storage(record: RunRecord, tmp_path: Path) -> None:
    damaged = Path(record.output_dir) / "checkpoints" / "step-00000020" / "model.safetensors"
    damaged.write_bytes(b"checkpoint of 2!")
    pulled = pull(record, tmp_path / "copy", step=20)
    assert (pulled.path / "model.safetensors").read_bytes() == b"checkpoint of 20"
    assert pulled.source.startswith("file://")
    with pytest.raises(UserError, match="checksum differs") as caught:
        pull(record.model_copy(update={"storage": None}), tmp_path / "other", step=20)
    assert caught.value.exit_code == ExitCode.NOT_VERIFIED
    assert not (tmp_path / "other").exists()


def test_of_a_run_on_rented_machines_nothing_is_looked_for_here(record: RunRecord, tmp_path: Path) -> None:
    """Its output folder was on its machine; what this computer has under that name is another run's."""
    sealed(Path(record.output_dir) / "final", 40, "final")
    sealed(Path(record.output_dir) / "checkpoints" / "step-00000010", 10, "checkpoint").joinpath("model.safetensors").write_bytes(b"x")
    rented = record.model_copy(update={"backend": "sky"})
    with pytest.raises(UserError, match="no final model yet"):
        pull(rented, tmp_path / "copy")
    assert [one.source.startswith("file://") for one in available(rented)] == [True] * 3
    assert pull(rented, tmp_path / "copy", step=10).source.startswith("file://")


def test_a_merged_model_comes_with_the_final_one_and_what_lies_beside_them_does_not(record: RunRecord, tmp_path: Path) -> None:
    final = sealed(Path(record.output_dir) / "final", 40, "final")
    sealed(final / "merged", 40, "merged")
    (final / "notes.txt").write_text("mine")
    pulled = pull(record, tmp_path / "copy")
    assert {str(file.relative_to(pulled.path)) for file in pulled.path.rglob("*") if file.is_file()} == {
        f"{folder}{name}" for folder in ("", "merged/") for name in ("model.safetensors", "manifest.json")
    }
    assert pulled.files == 2


def test_what_a_killed_pull_left_goes_with_the_next(record: RunRecord, tmp_path: Path) -> None:
    host, pid, *_ = str(this_owner()).split("-")
    left = tmp_path / f".staging-{host}-{pid}-1-abcd1234"
    left.mkdir()
    (left / "half").write_bytes(b"half")
    pull(record, tmp_path / "copy", step=10)
    assert not left.exists()


def test_a_manifest_of_another_step_is_not_taken_for_the_one_asked_for(record: RunRecord, tmp_path: Path) -> None:
    here = Path(record.output_dir) / "checkpoints"
    (here / "step-00000020").rename(here / "step-00000010")
    shutil.copytree(tmp_path / "store/tiny/checkpoints/step-00000010", tmp_path / "store/tiny/checkpoints/step-00000040")
    assert [(one.kind, one.step) for one in available(record)] == [("checkpoint", 10), ("checkpoint", 20), ("weights", 25)]
    assert (pull(record, tmp_path / "copy", step=10).path / "model.safetensors").read_bytes() == b"checkpoint of 10"
    with pytest.raises(UserError, match="checkpoint step 10: the folder was renamed"):
        pull(record, tmp_path / "other", step=40)
