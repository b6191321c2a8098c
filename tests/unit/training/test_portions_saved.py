"""Two machines with disks of their own save: what each holds is sealed there, and is a checkpoint in the store alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boards import MemoryBoard
from meeting import Meeting
from tenacity import wait_fixed

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.follower import Follower
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.others import Others
from runtime.checkpoint.restore import find_newest
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.checkpoint.upload import Uploader
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.training.deadline import Sizes
from runtime.training.disks import Disk
from runtime.training.folder import RunFolder
from runtime.training.processes import Rank
from runtime.training.saving import Saver

LONG_S = 30.0


class Fleet:
    """Two machines of two processes each, whose savers are driven by `do`."""

    def __init__(self, tmp_path: Path) -> None:
        self.folders = [RunFolder(path=tmp_path / name) for name in ("first", "second")]
        self.place = RunStore(store=DirectoryStore(tmp_path / "store"), run="run")
        board = MemoryBoard()
        self.events: list[dict[str, Any]] = []
        self.head = Uploader(self.place, attempt=1, on_event=self._heard, wait=wait_fixed(0.01), others=Others(board, count=2))
        self.follower = Follower(self.place, board, index=1, writer=self.head.writer, on_event=self._heard, poll_s=0.005)
        self._savers: dict[int, Saver] = {}

    def do(self, work: Callable[[Saver, Rank], Any]) -> list[Any]:
        """What `work` returns or raises on each of the four processes."""
        return Meeting(4).run(lambda rank: work(self._saver(rank), rank), [0, 1, 0, 1])

    def _saver(self, rank: Rank) -> Saver:
        machine = rank.index // 2
        saver = self._savers.setdefault(
            rank.index,
            Saver(
                folder=self.folders[machine],
                rank=rank,
                config_text="seed: 1\n",
                config_hash="h",
                emit=self._heard if rank.index == 0 else lambda *_args, **_fields: None,
                run="run",
                limit=2,
                disk=Disk(index=machine, count=2, first=2 * machine),
                uploader={0: self.head, 2: self.follower}.get(rank.index),
            ),
        )
        saver._rank = rank
        return saver

    def _heard(self, kind: str, step: int | None = None, **fields: Any) -> None:
        self.events.append({"kind": kind, "step": step, **fields})

    def close(self) -> None:
        assert self.head.close(LONG_S)
        assert self.follower.close(LONG_S)


@pytest.fixture
def fleet(tmp_path: Path) -> Any:
    made = Fleet(tmp_path)
    yield made
    made.close()


def own_file(folder: Path, rank: Rank) -> None:
    (folder / f"rng_state_{rank.index}.pth").write_bytes(b"%d" % rank.index)


def test_a_save_of_all_is_one_checkpoint_in_the_store(fleet: Fleet) -> None:
    for step in (1, 2, 3):
        assert fleet.do(lambda saver, rank, step=step: saver.save(step, lambda folder: own_file(folder, rank))) == [None] * 4
        assert fleet.do(lambda saver, _rank: saver.settle_together()) == [None] * 4
        # What is being sent is spared by retention.
        assert fleet.head.flush(LONG_S)
    found = find_newest([fleet.place])
    assert found is not None
    assert (found.step, found.manifest.kind, verify_stored(fleet.place, found.manifest)) == (3, "checkpoint", ())
    assert {file.path for file in found.manifest.files} == {"config.yml", *(f"rng_state_{index}.pth" for index in range(4))}
    for index, folder in enumerate(fleet.folders):
        assert find_newest([folder.checkpoints, folder.portions]) is None
        portion = read_manifest(folder.portion(3))
        assert (portion.kind, portion.extra, verify(folder.portion(3), portion)) == ("portion", {"portion": index + 1, "of": 2}, ())
        assert {path.name for path in folder.portions.glob("step-*")} == {"step-00000002", "step-00000003"}
    assert [event["step"] for event in fleet.events if event["kind"] == "checkpoint"] == []


def test_where_only_the_first_process_writes_the_others_add_nothing(fleet: Fleet) -> None:
    fleet.do(lambda saver, rank: saver.save(1, lambda folder: own_file(folder, rank) if rank.is_main else None))
    fleet.do(lambda saver, _rank: saver.settle_together())
    assert fleet.head.flush(LONG_S)
    found = find_newest([fleet.place])
    assert found is not None
    assert {file.path for file in found.manifest.files} == {"config.yml", "rng_state_0.pth"}


def test_what_fails_on_one_machine_is_raised_on_all(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.training import saving

    seal = saving.seal

    def fails(staging: Path, target: Path, **settings: Any) -> Any:
        if target.is_relative_to(fleet.folders[1].path):
            raise UserError(Problem(code="disk-full", message="the disk is full"), exit_code=ExitCode.TRAINING_FAILED)
        return seal(staging, target, **settings)

    monkeypatch.setattr(saving, "seal", fails)
    assert fleet.do(lambda saver, rank: saver.save(1, lambda folder: own_file(folder, rank))) == [None] * 4
    refused = fleet.do(lambda saver, rank: saver.save(2, lambda folder: own_file(folder, rank)))
    assert [(error.exit_code, error.problems[0].code) for error in refused] == [(ExitCode.TRAINING_FAILED, "disk-full")] * 4


def test_a_full_disk_of_one_machine_costs_its_checkpoint_and_no_more(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it found full while the portion is written, by whatever a library calls it, or while it is sealed."""
    from runtime.training import saving

    seal = saving.seal

    def fails(staging: Path, target: Path, **settings: Any) -> Any:
        if target == fleet.folders[1].portion(3):
            raise UserError(Problem(code="disk-full", message="the disk is full"), exit_code=ExitCode.TRAINING_FAILED)
        return seal(staging, target, **settings)

    def write(folder: Path, rank: Rank, step: int) -> None:
        def part() -> None:
            if (step, rank.index) == (1, 3):
                raise Exception("Error while serializing: I/O error: No space left on device (os error 28)")
            own_file(folder, rank)

        # As where shards are written, and no process may leave the others alone with the next ones.
        rank.together(part)

    monkeypatch.setattr(saving, "seal", fails)
    for step in (1, 2, 3):
        assert fleet.do(lambda saver, rank, step=step: saver.save(step, lambda folder: write(folder, rank, step), bears=True)) == [None] * 4
        assert fleet.do(lambda saver, _rank: saver.sealed()) == [step == 2] * 4
        fleet.head.flush(LONG_S)
    found = find_newest([fleet.place])
    assert found is not None
    assert found.step == 2
    failed = [event["message"] for event in fleet.events if event["kind"] == "upload_failed"]
    assert failed == ["step 3"] or "machine 2 of 2 has no portion of step 3 to send: the disk is full" in failed[0]


@pytest.mark.parametrize("victim", range(4))
def test_what_one_process_cannot_write_ends_all_alike(fleet: Fleet, victim: int) -> None:
    def write(folder: Path, rank: Rank) -> None:
        if rank.index == victim:
            raise PermissionError(13, "Permission denied", str(folder / "model"))
        own_file(folder, rank)

    for save in (Saver.save, Saver.save_final):
        refused = fleet.do(lambda saver, rank, save=save: save(saver, 1, lambda folder: write(folder, rank)))
        assert {(type(error), error.problems[0].code) for error in refused} == {(UserError, "no-permission")}


def test_what_nobody_foresaw_on_one_process_is_told_to_the_others(fleet: Fleet) -> None:
    def write(folder: Path, rank: Rank) -> None:
        if rank.index == 2:
            raise ValueError("never seen before")

    refused = fleet.do(lambda saver, rank: saver.save(1, lambda folder: write(folder, rank), bears=True))
    assert [type(error) for error in refused] == [UserError, UserError, ValueError, UserError]
    assert "ValueError: never seen before" in str(refused[0])


def test_a_disk_that_cannot_be_written_ends_all(fleet: Fleet) -> None:
    fleet.folders[1].path.mkdir()
    fleet.folders[1].portions.write_text("a file")
    refused = fleet.do(lambda saver, rank: saver.save(1, lambda folder: own_file(folder, rank)))
    assert [type(error) for error in refused] == [UserError] * 4


def test_the_final_model_lies_on_the_first_machine(fleet: Fleet) -> None:
    write = lambda folder, rank: (folder / "model").write_bytes(b"w") if rank.is_main else None  # noqa: E731
    assert fleet.do(lambda saver, rank: saver.save_final(3, lambda folder: write(folder, rank))) == [None] * 4
    assert fleet.head.flush(LONG_S)
    assert fleet.place.manifest("final").step == 3
    assert not fleet.folders[1].final.exists()


def test_a_model_written_in_parts_is_refused_and_not_sealed_in_part(fleet: Fleet) -> None:
    refused = fleet.do(lambda saver, rank: saver.save_final(3, lambda folder: own_file(folder, rank)))
    assert [error.problems[0].code for error in refused] == ["portion-lost"] * 4
    assert not fleet.folders[0].final.exists()


def test_what_cannot_reach_the_store_in_time_is_not_saved_at_all(fleet: Fleet) -> None:
    sizes = Sizes(full=3_000_000_000, weights=3_000_000_000)
    ending = fleet.do(lambda saver, _rank: saver.ending(60.0, sizes, machine_stays=True))[0]
    assert (ending.what, ending.sends) == ("keep", False)
    assert fleet.do(lambda saver, _rank: saver.ending(None, sizes, machine_stays=True))[0].what == "full"
