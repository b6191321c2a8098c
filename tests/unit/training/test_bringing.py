"""A whole checkpoint comes to every machine: from the store, as little of it as is not there already, or not at all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from boards import MemoryBoard
from meeting import Meeting
from tenacity import wait_fixed

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.follower import Follower
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.others import Others
from runtime.checkpoint.portion import place_facts
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.checkpoint.upload import Uploader
from runtime.config.problem import UserError
from runtime.training.bringing import bring_start, bring_whole
from runtime.training.disks import Disk
from runtime.training.folder import RunFolder
from runtime.training.progress import Progress
from runtime.training.resume import Start

FILES = {"model": b"weights" * 40, "rng_state_0.pth": b"0", "rng_state_1.pth": b"1" * 50}
LONG_S = 30.0


class Counted(DirectoryStore):
    """A store that notes what is brought from it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.brought: list[str] = []

    def get_file(self, key: str, target: Path, **options: Any) -> Any:
        self.brought.append(key.rpartition("/")[2])
        return super().get_file(key, target, **options)


class Fleet:
    """Two machines of one process each."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path
        self.folders = [RunFolder(path=tmp_path / name) for name in ("first", "second")]
        self.places = [RunStore(store=Counted(tmp_path / "store"), run="run") for _ in range(2)]

    def each(self, work: Any, *, count: int = 2) -> list[Any]:
        def run(rank: Any) -> Any:
            job = SimpleNamespace(rank=rank, folder=self.folders[rank.index], progress=Progress(speaks=False))
            disk = Disk(index=rank.index, count=count, first=rank.index) if count > 1 else Disk()
            company = SimpleNamespace(disk=disk, serves=True, writer="1-word")
            return work(job, company, self.places[rank.index])

        return Meeting(2).run(run, [0, 0])

    def start(self, start: Start, *, count: int = 2) -> list[Any]:
        return self.each(lambda job, company, place: bring_start(start, job, company, place), count=count)

    def brought(self, machine: int) -> list[str]:
        store: Any = self.places[machine].store
        return sorted(store.brought)


def put(folder: Path, step: int, files: dict[str, bytes], **facts: Any) -> Path:
    staging = new_staging(folder.parent)
    for name, content in files.items():
        (staging / name).write_bytes(content)
    seal(staging, folder, **{"step": step, "config_hash": "h", "world_size": 2, "run": "run", "created": 1.0, **facts})
    return folder


def portion(fleet: Fleet, machine: int, step: int = 4) -> Path:
    names = {0: ("model", "rng_state_0.pth"), 1: ("rng_state_1.pth",)}[machine]
    files = {name: FILES[name] for name in names}
    return put(fleet.folders[machine].portion(step), step, files, kind="portion", extra=place_facts(machine, 2))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def in_store(fleet: Fleet, step: int = 4) -> None:
    """A whole checkpoint that the store alone has."""
    seal_in_store(fleet.places[0], put(fleet.root / f"elsewhere-{step}", step, FILES), writer="1-word-x")


def whole_on_both(fleet: Fleet, step: int = 4) -> bool:
    folders = [folder.checkpoint(step) for folder in fleet.folders]
    return all(verify(folder, read_manifest(folder)) == () and read_manifest(folder).kind == "checkpoint" for folder in folders)


def test_each_machine_brings_what_it_does_not_hold(fleet: Fleet) -> None:
    in_store(fleet)
    own = put(fleet.folders[0].checkpoint(4), 4, FILES)
    portion(fleet, 1)
    portion(fleet, 1, 6)
    starts = fleet.start(Start(checkpoint=own, step=4, reason="resuming"))
    assert [(start.checkpoint, start.reason) for start in starts] == [(folder.checkpoint(4), "resuming") for folder in fleet.folders]
    assert whole_on_both(fleet)
    assert fleet.brought(0) == []
    assert fleet.brought(1) == ["model", "rng_state_0.pth"]
    # Trained again, since nobody sealed it.
    assert list(fleet.folders[1].portions.glob("step-*")) == []


def test_a_portion_that_is_damaged_is_no_source(fleet: Fleet) -> None:
    in_store(fleet)
    own = put(fleet.folders[0].checkpoint(4), 4, FILES)
    (portion(fleet, 1) / "rng_state_1.pth").write_bytes(b"2" * 50)
    fleet.start(Start(checkpoint=own, step=4))
    assert whole_on_both(fleet)
    assert fleet.brought(1) == ["model", "rng_state_0.pth", "rng_state_1.pth"]


def test_what_only_the_head_has_is_stored_first(fleet: Fleet) -> None:
    own = put(fleet.folders[0].checkpoint(4), 4, FILES)
    fleet.start(Start(checkpoint=own, step=4))
    assert whole_on_both(fleet)
    assert fleet.places[0].steps() == {4: True}


@pytest.mark.parametrize("stale", [0, 1])
def test_a_disk_that_was_away_gives_way_to_what_the_run_has_sealed_since(fleet: Fleet, stale: int) -> None:
    in_store(fleet)
    for machine, folder in enumerate(fleet.folders):
        if machine in (0, stale):
            put(folder.checkpoint(4), 4, {**FILES, "model": b"another"} if machine == stale else FILES)
    starts = fleet.start(Start(checkpoint=fleet.folders[0].checkpoint(4), step=4))
    assert [start.checkpoint for start in starts] == [folder.checkpoint(4) for folder in fleet.folders]
    assert whole_on_both(fleet)
    assert {(folder.checkpoint(4) / "model").read_bytes() for folder in fleet.folders} == {FILES["model"]}
    assert [path.name for folder in fleet.folders for path in folder.checkpoints.iterdir()] == ["step-00000004"] * 2


def test_what_cannot_be_brought_takes_nothing_away(fleet: Fleet) -> None:
    in_store(fleet)
    (fleet.root / "store" / "run" / "checkpoints" / "step-00000004" / "1-word-x" / "model").write_bytes(b"changed" * 40)
    own = put(fleet.folders[0].checkpoint(4), 4, {**FILES, "model": b"another"})
    refused = fleet.start(Start(checkpoint=own, step=4))
    assert [(type(error), error.problems[0].code) for error in refused] == [(UserError, "wrong-checksum")] * 2
    assert verify(own, read_manifest(own)) == ()


def test_a_checkpoint_of_another_training_in_the_store_is_refused_everywhere(fleet: Fleet) -> None:
    in_store(fleet)
    own = put(fleet.folders[0].checkpoint(4), 4, {**FILES, "model": b"another"}, config_hash="another")
    refused = fleet.start(Start(checkpoint=own, step=4))
    assert [(type(error), error.problems[0].code) for error in refused] == [(UserError, "conflict")] * 2


def test_a_named_folder_without_a_manifest_must_be_on_every_machine(fleet: Fleet, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.mkdir()
    refused = fleet.start(Start(checkpoint=named, step=4))
    assert [(type(error), error.problems[0].code) for error in refused] == [(UserError, "missing-file")] * 2
    (named / "trainer_state.json").write_text("{}")
    assert [start.checkpoint for start in fleet.start(Start(checkpoint=named, step=4))] == [named] * 2


def test_a_fresh_start_forgets_old_portions(fleet: Fleet) -> None:
    portion(fleet, 0)
    portion(fleet, 1)
    assert fleet.start(Start()) == [Start()] * 2
    assert [list(folder.portions.glob("step-*")) for folder in fleet.folders] == [[], []]


def test_on_one_disk_nothing_is_brought(fleet: Fleet) -> None:
    start = Start(checkpoint=fleet.root / "anywhere", step=4)
    assert fleet.start(start, count=1) == [start] * 2


def test_on_one_disk_the_best_one_of_an_earlier_machine_comes_from_the_store(fleet: Fleet) -> None:
    def bring() -> list[Any]:
        return fleet.each(lambda job, company, place: bring_whole(4, job, company, place if job.rank.is_main else None, None), count=1)

    assert bring() == [False] * 2
    in_store(fleet)
    target = fleet.folders[0].checkpoint(4)
    for _ in range(2):
        assert bring() == [True] * 2
        assert verify(target, read_manifest(target)) == ()
        (target / "model").write_bytes(b"changed" * 40)
    assert fleet.brought(0) == sorted([*FILES] * 2)
    (fleet.root / "store" / "run" / "checkpoints" / "step-00000004" / "1-word-x" / "model").write_bytes(b"changed" * 40)
    assert bring() == [False] * 2


@pytest.mark.parametrize("held", [True, False])
def test_the_best_one_is_sent_late_where_all_still_hold_it(fleet: Fleet, held: bool) -> None:
    """It was passed over for newer ones; the last one, on its way, is not passed over for it."""
    board = MemoryBoard()
    head = Uploader(
        fleet.places[0], attempt=1, word="word", on_event=lambda *_a, **_f: None, wait=wait_fixed(0.01), others=Others(board, count=2)
    )
    follower = Follower(fleet.places[1], board, index=1, writer="1-word", on_event=lambda *_a, **_f: None, poll_s=0.005)
    senders = [head, follower]
    try:
        for machine in range(2 if held else 1):
            portion(fleet, machine, 4)
        last = [portion(fleet, machine, 9) for machine in (0, 1)]
        follower.submit(last[1], step=9)
        head.submit(last[0])
        answers = fleet.each(lambda job, company, place: bring_whole(4, job, company, place, senders[job.rank.index]))
        assert answers == [held] * 2
        assert head.flush(LONG_S)
        assert fleet.places[0].steps() == ({4: True, 9: True} if held else {9: True})
        assert not held or whole_on_both(fleet)
    finally:
        assert head.close(LONG_S)
        assert follower.close(LONG_S)
