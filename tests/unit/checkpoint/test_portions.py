"""Several machines seal one checkpoint: the head calls for the portions of one step, and only all of them together are one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boards import MemoryBoard
from gated import LONG_S, Gated, Log
from tenacity import wait_fixed

from runtime.checkpoint import others
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.follower import Follower
from runtime.checkpoint.manifest import Manifest, read_manifest
from runtime.checkpoint.others import Others
from runtime.checkpoint.portion import PortionError, alive_key, merge, place_facts
from runtime.checkpoint.restore import find_newest, survey
from runtime.checkpoint.retention import Keep
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import NotUploadableError, seal_in_store
from runtime.checkpoint.upload import Uploader

HEAD = {"model": b"weights" * 40, "rng_state_0.pth": b"0"}
SECOND = {"rng_state_1.pth": b"1", "optimizer-00002.bin": b"moments" * 50}


class Fleet:
    """A head and one follower over one directory, each with a store of its own to be hindered in."""

    def __init__(self, tmp_path: Path, sealed: Any, *, attempt: int = 1, word: str = "word") -> None:
        self.root = tmp_path
        self.sealed = sealed
        self.board = MemoryBoard()
        self.stores = [Gated(tmp_path / "store") for _ in range(2)]
        self.told = [Log(), Log()]
        self.attempt = attempt
        head, second = (RunStore(store=store, run="run") for store in self.stores)
        self.head = Uploader(
            head,
            attempt=attempt,
            word=word,
            on_event=self.told[0],
            wait=wait_fixed(0.01),
            others=Others(self.board, count=2),
        )
        self.follower = Follower(
            second, self.board, index=1, writer=self.head.writer, on_event=self.told[1], wait=wait_fixed(0.01), poll_s=0.005
        )

    def portion(self, step: int, index: int, files: dict[str, bytes] | None = None, **options: Any) -> Path:
        content = (HEAD, SECOND)[index] if files is None else files
        content = {name: b"%d " % step + text for name, text in content.items()}
        where = self.root / f"machine-{index}-{self.attempt}" / "portions"
        folder: Path = self.sealed(
            step, checkpoints=where, files=content, kind="portion", attempt=self.attempt, extra=place_facts(index, 2), **options
        )
        return folder

    def save(self, step: int, keep: Keep | None = None) -> None:
        self.follower.submit(self.portion(step, 1), step=step)
        self.head.submit(self.portion(step, 0), keep=keep)

    def newest(self) -> Manifest | None:
        place = RunStore(store=DirectoryStore(self.root / "store"), run="run")
        seen = survey([place])
        assert [problem.code for problem in seen.skipped if problem.code != "unsealed"] == []
        return seen.found.manifest if seen.found else None

    def close(self) -> None:
        for store in self.stores:
            store.gate.set()
        assert self.head.close(LONG_S)
        assert self.follower.close(LONG_S)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "POLL_S", 0.005)


@pytest.fixture
def fleet(tmp_path: Path, sealed: Any) -> Iterator[Fleet]:
    made = Fleet(tmp_path, sealed)
    yield made
    made.close()


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_two_portions_become_one_checkpoint(fleet: Fleet) -> None:
    fleet.save(40)
    assert fleet.head.flush(LONG_S)
    whole = fleet.newest()
    assert whole is not None
    assert (whole.kind, whole.step, whole.extra) == ("checkpoint", 40, {"machines": 2})
    assert {file.path for file in whole.files} == {*HEAD, *SECOND}
    assert fleet.told[0].kinds() == [("uploaded", 40)]
    assert not fleet.follower.flush(0.0)
    assert fleet.head.close(LONG_S)
    assert fleet.follower.flush(LONG_S)


def test_nothing_is_sealed_while_one_has_not_sent(fleet: Fleet) -> None:
    fleet.stores[1].gate.clear()
    fleet.save(40)
    assert fleet.stores[1].started.wait(LONG_S)
    assert not fleet.head.flush(0.1)
    assert fleet.newest() is None
    fleet.stores[1].gate.set()
    assert fleet.head.flush(LONG_S)
    assert fleet.newest() is not None


def test_the_head_waits_for_the_slowest_and_then_takes_the_newest(fleet: Fleet) -> None:
    fleet.stores[1].gate.clear()
    fleet.save(10)
    assert fleet.stores[1].started.wait(LONG_S)
    for step in (20, 30, 40):
        fleet.save(step)
    # What may be called for next is spared, and no more.
    assert {folder.name for folder in fleet.follower.protected} == {f"step-000000{step}" for step in (10, 30, 40)}
    fleet.stores[1].gate.set()
    assert fleet.head.flush(LONG_S)
    assert [event for event in fleet.told[0].kinds() if event[0] == "uploaded"] == [("uploaded", 10), ("uploaded", 40)]
    assert [event for event in fleet.told[1].kinds() if event[0] == "portion_sent"] == [("portion_sent", 10), ("portion_sent", 40)]


def test_the_head_may_call_for_the_one_before_the_newest(fleet: Fleet) -> None:
    """A save behind the others, as far as it can be: they have sealed and passed on the next one already."""
    for step in (10, 20):
        fleet.follower.submit(fleet.portion(step, 1), step=step)
    fleet.head.submit(fleet.portion(10, 0))
    assert fleet.head.flush(LONG_S)
    newest = fleet.newest()
    assert newest is not None
    assert newest.step == 10


def test_a_call_that_comes_before_the_portion_is_answered_when_it_is_there(fleet: Fleet) -> None:
    fleet.head.submit(fleet.portion(10, 0))
    assert not fleet.head.flush(0.1)
    fleet.follower.submit(fleet.portion(10, 1), step=10)
    assert fleet.head.flush(LONG_S)


def test_what_a_follower_cannot_send_is_tried_until_it_can(fleet: Fleet) -> None:
    fleet.stores[1].error = ConnectionError("no route to host")
    fleet.save(40)
    until(lambda: any(kind == "upload_retry" for kind, _ in fleet.told[0].kinds()))
    said = next(fields["message"] for kind, _, fields in fleet.told[0].events if kind == "upload_retry")
    assert said == "machine 2 of 2 cannot send its portion yet: no route to host"
    fleet.stores[1].error = None
    assert fleet.head.flush(LONG_S)
    assert fleet.newest() is not None


def test_a_newer_one_takes_over_from_one_that_a_follower_cannot_send(fleet: Fleet) -> None:
    fleet.stores[1].error = ConnectionError("no route to host")
    fleet.save(40)
    until(lambda: any(kind == "upload_retry" for kind, _ in fleet.told[0].kinds()))
    fleet.save(50)
    until(lambda: ("upload_dropped", 40) in fleet.told[0].kinds())
    fleet.stores[1].error = None
    assert fleet.head.flush(LONG_S)
    newest = fleet.newest()
    assert newest is not None
    assert newest.step == 50
    assert ("uploaded", 40) not in fleet.told[0].kinds()


def test_what_was_given_up_is_cleaned_away_by_the_next_seal(fleet: Fleet) -> None:
    fleet.stores[1].error = ConnectionError("no route to host")
    fleet.save(40)
    until(lambda: any("step-00000040" in stat.key for stat in fleet.stores[0].list("run/")))
    until(lambda: any(kind == "upload_retry" for kind, _ in fleet.told[0].kinds()))
    fleet.save(50, keep=Keep())
    until(lambda: ("upload_dropped", 40) in fleet.told[0].kinds())
    fleet.stores[1].error = None
    assert fleet.head.flush(LONG_S)
    assert {stat.key.split("/")[2] for stat in fleet.stores[0].list("run/checkpoints/")} == {"step-00000050"}


def test_a_damaged_portion_costs_its_step_and_no_more(fleet: Fleet) -> None:
    folder = fleet.portion(40, 1)
    (folder / "rng_state_1.pth").write_bytes(b"40 !")
    fleet.follower.submit(folder, step=40)
    fleet.head.submit(fleet.portion(40, 0))
    assert not fleet.head.flush(LONG_S)
    assert fleet.told[0].kinds() == [("upload_failed", 40)]
    assert "machine 2 of 2 has no portion of step 40 to send" in fleet.told[0].events[0][2]["message"]
    fleet.save(50)
    assert fleet.head.flush(LONG_S)


def test_a_follower_that_fails_waits_for_what_is_called_for_and_no_longer(fleet: Fleet) -> None:
    assert fleet.follower.finish(0.0)
    fleet.stores[1].gate.clear()
    fleet.save(40)
    assert fleet.stores[1].started.wait(LONG_S)
    assert not fleet.follower.finish(0.05)
    fleet.stores[1].gate.set()
    assert fleet.follower.finish(LONG_S)
    assert ("portion_sent", 40) in fleet.told[1].kinds()


def test_one_that_was_dropped_is_told_and_not_waited_for(fleet: Fleet) -> None:
    for step in (20, 30, 40):
        fleet.follower.submit(fleet.portion(step, 1), step=step)
    fleet.head.submit(fleet.portion(20, 0))
    assert not fleet.head.flush(LONG_S)
    assert fleet.told[0].kinds() == [("upload_failed", 20)]
    assert "it is not here any more" in fleet.told[0].events[0][2]["message"]


def test_a_machine_that_has_nothing_to_add(fleet: Fleet) -> None:
    fleet.follower.submit(None, step=40)
    fleet.head.submit(fleet.portion(40, 0))
    assert fleet.head.flush(LONG_S)
    newest = fleet.newest()
    assert newest is not None
    assert {file.path for file in newest.files} == set(HEAD)


def test_the_same_step_may_be_called_for_again(fleet: Fleet) -> None:
    """What was said to the first call counts no more: what was sent then may be cleaned away."""
    (damaged := fleet.portion(40, 1) / "rng_state_1.pth").write_bytes(b"40 !")
    fleet.follower.submit(damaged.parent, step=40)
    own = fleet.portion(40, 0)
    fleet.head.submit(own)
    assert not fleet.head.flush(LONG_S)
    damaged.write_bytes(b"40 1")
    fleet.stores[1].gate.clear()
    fleet.follower.submit(damaged.parent, step=40)
    fleet.head.submit(own)
    assert not fleet.head.flush(0.1)
    fleet.stores[1].gate.set()
    assert fleet.head.flush(LONG_S)
    assert fleet.newest() is not None


def test_a_head_that_dies_leaves_no_checkpoint_and_its_followers_end(fleet: Fleet) -> None:
    fleet.stores[0].gate.clear()
    fleet.save(40)
    until(lambda: ("portion_sent", 40) in fleet.told[1].kinds())
    fleet.board.gone = True
    assert fleet.follower.flush(LONG_S)
    assert fleet.newest() is None


def test_a_head_that_ends_waits_for_machines_that_are_there_and_no_others(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "_SILENT_S", 0.6)
    fleet.stores[1].gate.clear()
    fleet.save(40)
    assert fleet.stores[1].started.wait(LONG_S)
    assert not fleet.head.flush(0.1)
    assert fleet.head._others is not None
    fleet.head._others.hurry()
    for beat in range(20):
        fleet.board.post(alive_key(1), b"%d" % beat)
        assert not fleet.head.flush(0.05)
    assert fleet.told[0].kinds() == []
    assert not fleet.head.flush(LONG_S)
    assert fleet.told[0].kinds() == [("upload_failed", 40)]
    assert "it is gone without a word" in fleet.told[0].events[0][2]["message"]


def test_a_machine_that_has_ended_is_not_waited_for(fleet: Fleet) -> None:
    assert fleet.follower.close(LONG_S)
    fleet.head.submit(fleet.portion(40, 0))
    assert not fleet.head.flush(LONG_S)
    assert "it has ended" in fleet.told[0].events[0][2]["message"]


def test_a_portion_that_could_not_be_sealed_is_not_waited_for(fleet: Fleet) -> None:
    fleet.head.submit(fleet.portion(40, 0))
    fleet.follower.miss(40, "the disk is full")
    assert not fleet.head.flush(LONG_S)
    assert "machine 2 of 2 has no portion of step 40 to send: the disk is full" in fleet.told[0].events[0][2]["message"]
    fleet.save(50)
    assert fleet.head.flush(LONG_S)


def test_portions_of_two_lives_never_meet(tmp_path: Path, sealed: Any) -> None:
    """The head of the first life dies when its follower has sent; the second life seals the same step with other weights."""
    first = Fleet(tmp_path, sealed, word="first")
    first.stores[0].gate.clear()
    first.save(40)
    until(lambda: ("portion_sent", 40) in first.told[1].kinds())
    second = Fleet(tmp_path, sealed, attempt=2, word="second")
    second.head.submit(second.portion(40, 0, files={**HEAD, "model": b"other"}))
    assert not second.head.flush(0.1)
    assert second.newest() is None
    second.follower.submit(second.portion(40, 1), step=40)
    assert second.head.flush(LONG_S)
    newest = second.newest()
    assert newest is not None
    assert {(file.key or "").split("/")[2].rpartition("-")[0][:8] for file in newest.files} == {"2-second"}
    second.close()
    first.close()


def test_a_portion_is_no_checkpoint_to_any_reader(fleet: Fleet, tmp_path: Path) -> None:
    folder = fleet.portion(40, 0)
    assert find_newest([folder.parent]) is None
    place = RunStore(store=DirectoryStore(tmp_path / "other"), run="run")
    with pytest.raises(NotUploadableError):
        seal_in_store(place, folder, writer="1-aaaa")
    assert list(place.store.list("")) == []


def remote(fleet: Fleet, index: int, **changes: Any) -> Manifest:
    local = read_manifest(fleet.portion(7, index, files=changes.pop("files", None)))
    files = tuple(
        file.model_copy(update={"key": f"checkpoints/step-00000007/{changes.get('writer', '1-word')}-x/{file.path}"})
        for file in local.files
    )
    return local.model_copy(update={"files": files, **{name: value for name, value in changes.items() if name != "writer"}})


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": 2},
        {"step": 8},
        {"config_hash": "other"},
        {"world_size": 4},
        {"run": "other"},
        {"kind": "checkpoint"},
        {"extra": place_facts(1, 3)},
        {"writer": "1-zombie"},
        {"writer": "2-word"},
        {"files": {"model": b"another"}},
        {"files": {"model/below": b"a file"}},
    ],
    ids=str,
)
def test_what_does_not_belong_together_is_not_merged(fleet: Fleet, changes: dict[str, Any]) -> None:
    own = remote(fleet, 0)
    with pytest.raises(PortionError):
        merge(own, [(1, remote(fleet, 1, **changes))], writer="1-word")


def test_a_file_that_two_machines_have_alike_is_taken_once(fleet: Fleet) -> None:
    own = remote(fleet, 0)
    merged = merge(own, [(1, remote(fleet, 1, files={"model": HEAD["model"], "rng_state_1.pth": b"1"}))], writer="1-word")
    assert [file.path for file in merged.files] == ["model", "rng_state_0.pth", "rng_state_1.pth"]
    assert merged.files[0] == own.files[0]


def test_objects_that_are_gone_are_not_sealed(fleet: Fleet) -> None:
    """Between a follower's word and the head's manifest somebody has cleaned up."""
    fleet.stores[0].gate.clear()
    fleet.save(40)
    until(lambda: ("portion_sent", 40) in fleet.told[1].kinds())
    store = DirectoryStore(fleet.root / "store")
    (key,) = [stat.key for stat in store.list("run/") if stat.key.endswith("rng_state_1.pth")]
    store.delete(key)
    fleet.stores[0].gate.set()
    until(lambda: any(kind == "upload_retry" for kind, _ in fleet.told[0].kinds()))
    assert fleet.newest() is None
