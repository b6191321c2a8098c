"""The uploader never disturbs training: it waits, retries, drops what is outdated, and says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gated import LONG_S, Gated, Log
from tenacity import wait_fixed

from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.lease import Lease
from runtime.checkpoint.restore import find_newest
from runtime.checkpoint.retention import Keep, prune
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.checkpoint.upload import Uploader
from runtime.config.problem import Problem, UserError


@pytest.fixture
def store(tmp_path: Path) -> Gated:
    return Gated(tmp_path / "store")


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def start(store: Gated, log: Log) -> Iterator[Callable[..., Uploader]]:
    """`start(attempt=2)`: an uploader that retries at once; closed at the end."""
    uploaders: list[Uploader] = []

    def make(**options: Any) -> Uploader:
        place = RunStore(store=store, run="run")
        uploaders.append(Uploader(place, **{"attempt": 1, "on_event": log, "wait": wait_fixed(0.001), **options}))
        return uploaders[-1]

    yield make
    store.gate.set()
    for uploader in uploaders:
        assert uploader.close(LONG_S)


def stored(store: Gated) -> int | None:
    found = find_newest([RunStore(store=store, run="run")])
    return found.step if found else None


def test_a_checkpoint_and_the_final_model_are_sealed_in_the_store(sealed: Any, start: Any, store: Gated, log: Log, tmp_path: Path) -> None:
    uploader = start()
    uploader.submit(sealed(40))
    final = sealed(40, kind="final", checkpoints=tmp_path / "x").rename(tmp_path / "final")
    uploader.submit(final)
    assert uploader.flush(LONG_S)
    assert stored(store) == 40
    assert RunStore(store=store, run="run").manifest("final").kind == "final"
    assert log.kinds() == [("uploaded", 40), ("uploaded", None)]
    fields = log.events[0][2]
    assert fields["url"] == f"file://{tmp_path}/store/run/checkpoints/step-00000040"
    assert fields["bytes"] == 2113
    assert fields["seconds"] >= 0
    assert uploader.protected == frozenset()


def test_submitting_does_not_wait_for_the_store(sealed: Any, start: Any, store: Gated) -> None:
    store.gate.clear()
    uploader = start()
    folder = sealed(40)
    uploader.submit(folder)
    assert store.started.wait(LONG_S)
    assert uploader.protected == {folder}
    assert not uploader.flush(0.01)
    store.gate.set()
    assert uploader.flush(LONG_S)


def test_the_newest_wins_while_the_store_is_slow(sealed: Any, start: Any, store: Gated, log: Log, tmp_path: Path) -> None:
    store.gate.clear()
    uploader = start()
    folders = {step: sealed(step) for step in (10, 20, 30, 40)}
    uploader.submit(folders[10])
    assert store.started.wait(LONG_S)
    for step in (20, 30, 40):
        uploader.submit(folders[step])
    assert uploader.protected == {folders[10], folders[40]}
    assert prune(tmp_path / "checkpoints", Keep(last=1), protected=uploader.protected) == (folders[20], folders[30])
    store.gate.set()
    assert uploader.flush(LONG_S)
    assert log.kinds() == [("upload_dropped", 20), ("upload_dropped", 30), ("uploaded", 10), ("uploaded", 40)]


def test_the_best_one_is_sent_however_slow_the_store_is(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    """On another machine it may become the final model, and there it is only if it was sent."""
    store.gate.clear()
    uploader = start()
    for step, best in ((10, 10), (20, 20), (30, 20), (40, 20), (50, 50)):
        uploader.submit(sealed(step), keep=Keep(best=frozenset({best})))
        assert store.started.wait(LONG_S)
    uploader.submit(sealed(60), keep=Keep(best=frozenset({50})))
    store.gate.set()
    assert uploader.flush(LONG_S)
    assert log.kinds() == [
        ("upload_dropped", 30),
        ("upload_dropped", 20),
        ("upload_dropped", 40),
        *(("uploaded", step) for step in (10, 50, 60)),
    ]


def test_every_kth_is_sent_when_there_is_time(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    store.gate.clear()
    uploader = start()
    for step in (10, 20, 30, 40, 50):
        uploader.submit(sealed(step), keep=Keep(last=1, every=20))
        assert store.started.wait(LONG_S)
    store.gate.set()
    assert uploader.flush(LONG_S)
    assert log.kinds() == [("upload_dropped", 30), *(("uploaded", step) for step in (10, 50, 20, 40))]
    assert stored(store) == 50
    assert RunStore(store=store, run="run").steps() == {20: True, 40: True, 50: True}


def test_a_kth_that_keeps_failing_makes_way_and_comes_back(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    store.error = ConnectionError("no route to host")
    uploader = start()
    uploader.submit(sealed(20), keep=Keep(every=20))
    log.wait("upload_retry")
    uploader.submit(sealed(30), keep=Keep(every=20))
    while uploader._active is None or uploader._active.step != 30:
        threading.Event().wait(0.01)
    store.error = None
    assert uploader.flush(LONG_S)
    assert [event for event in log.kinds() if event[0] != "upload_retry"] == [("uploaded", 30), ("uploaded", 20)]


def test_where_all_are_kept_they_are_not_listed_for_each(
    sealed: Any, start: Any, store: Gated, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    for how in ("list", "folders"):
        before = getattr(DirectoryStore, how)
        monkeypatch.setattr(DirectoryStore, how, lambda store, prefix, before=before: listed.append(prefix) or before(store, prefix))
    store.put_bytes("run/checkpoints/step-00000005/0-dead/a", b"x")
    uploader = start()

    def lists(step: int, keep: Keep) -> int:
        listed.clear()
        uploader.submit(sealed(step), keep=keep)
        assert uploader.flush(LONG_S)
        return sum(prefix == "run/checkpoints/" for prefix in listed)

    # One look for what it need not send, one for what the dead have left.
    assert lists(10, Keep()) == 2
    assert store.stat("run/checkpoints/step-00000005/0-dead/a") is None
    assert lists(20, Keep()) == 0
    assert lists(30, Keep(last=2)) == 1
    store.error = ZeroDivisionError("given up in the middle")
    uploader.submit(sealed(40), keep=Keep())
    log.wait("upload_failed")
    store.error = None
    assert lists(50, Keep()) == 1
    assert lists(60, Keep()) == 0


def test_a_failing_store_is_tried_until_it_comes_back(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    store.error = ConnectionError("no route to host")
    uploader = start()
    uploader.submit(sealed(40))
    assert log.wait("upload_retry", times=5)["message"] == "no route to host"
    assert log.wait("upload_retry", times=5)["attempt"] == 5
    assert not uploader.flush(0.01)
    store.error = None
    assert uploader.flush(LONG_S)
    assert stored(store) == 40


def test_what_the_user_must_mend_is_tried_again_too(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    store.error = UserError(Problem(code="disk-full", message="the disk is full"))
    uploader = start()
    uploader.submit(sealed(40))
    assert "disk is full" in log.wait("upload_retry", times=2)["message"]
    store.error = None
    assert uploader.flush(LONG_S)


def test_a_newer_checkpoint_takes_over_from_a_failing_one(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    store.error = ConnectionError("no route to host")
    uploader = start()
    uploader.submit(sealed(40))
    log.wait("upload_retry")
    uploader.submit(sealed(50))
    log.wait("upload_dropped")
    store.error = None
    assert uploader.flush(LONG_S)
    assert [event for event in log.kinds() if event[0] != "upload_retry"] == [("upload_dropped", 40), ("uploaded", 50)]


def test_a_long_pause_ends_when_a_flush_asks(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    store.error = ConnectionError("no route to host")
    uploader = start(wait=wait_fixed(3600))
    uploader.submit(sealed(40))
    assert log.wait("upload_retry")["wait_s"] == 3600
    store.error = None
    assert uploader.flush(LONG_S)


def test_the_final_model_is_never_dropped(sealed: Any, start: Any, store: Gated, log: Log, tmp_path: Path) -> None:
    store.gate.clear()
    uploader = start()
    uploader.submit(sealed(40))
    assert store.started.wait(LONG_S)
    final = sealed(50, kind="final", checkpoints=tmp_path / "x").rename(tmp_path / "final")
    uploader.submit(final)
    uploader.submit(sealed(50))
    store.gate.set()
    assert uploader.flush(LONG_S)
    assert log.kinds() == [("uploaded", 40), ("uploaded", None), ("uploaded", 50)]


def test_a_damaged_checkpoint_is_given_up_and_told(sealed: Any, start: Any, log: Log, store: Gated) -> None:
    folder = sealed(40)
    (folder / "trainer_state.json").write_bytes(b'{"step": 2}')
    uploader = start()
    uploader.submit(folder)
    assert not uploader.flush(LONG_S)
    assert "changed after sealing" in log.wait("upload_failed")["message"]
    uploader.submit(sealed(50))
    assert uploader.flush(LONG_S)
    assert stored(store) == 50


def test_an_unforeseen_error_does_not_end_the_uploader(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    store.error = ZeroDivisionError("a bug")
    uploader = start()
    uploader.submit(sealed(40))
    assert log.wait("upload_failed")["message"] == "ZeroDivisionError: a bug"
    store.error = None
    uploader.submit(sealed(50))
    assert uploader.flush(LONG_S)


def test_a_listener_that_fails_does_not_end_the_uploader(sealed: Any, start: Any, store: Gated) -> None:
    def refuse(kind: str, step: int | None = None, **fields: object) -> None:
        raise OSError("the event log's disk is full")

    uploader = start(on_event=refuse)
    uploader.submit(sealed(40))
    uploader.submit(sealed(50))
    assert uploader.flush(LONG_S)
    assert stored(store) == 50


def test_the_runs_past_is_fenced_by_its_present(sealed: Any, start: Any, store: Gated, log: Log, tmp_path: Path) -> None:
    place = RunStore(store=store, run="run")
    theirs = sealed(40, attempt=2, checkpoints=tmp_path / "theirs", files={"model": b"the present"})
    winner = seal_in_store(place, theirs, writer="2-bbbb")
    uploader = start(attempt=1)
    uploader.submit(sealed(40, attempt=1))
    message = log.wait("fenced")["message"]
    assert "attempt 2" in message
    assert "this is attempt 1" in message
    assert not uploader.flush(LONG_S)
    assert uploader.fenced is not None
    uploader.submit(sealed(50, attempt=1))
    assert log.kinds() == [("fenced", 40), ("upload_dropped", 50)]
    assert place.manifest("checkpoints/step-00000040") == winner
    assert stored(store) == 40


def test_the_present_leaves_what_the_past_has_sealed(sealed: Any, start: Any, store: Gated, log: Log, tmp_path: Path) -> None:
    place = RunStore(store=store, run="run")
    seal_in_store(place, sealed(40, attempt=1, checkpoints=tmp_path / "past", files={"model": b"the past"}), writer="1-aaaa")
    uploader = start(attempt=2)
    uploader.submit(sealed(40, attempt=2))
    assert "attempt 1 has already sealed step 40" in log.wait("upload_failed")["message"]
    uploader.submit(sealed(50, attempt=2))
    assert uploader.flush(LONG_S)
    assert uploader.fenced is None


def test_the_store_is_pruned_after_an_upload(sealed: Any, start: Any, store: Gated) -> None:
    uploader = start()
    for step in (10, 20, 30):
        uploader.submit(sealed(step), keep=Keep(last=2))
        assert uploader.flush(LONG_S)
    assert {stat.key.split("/")[2] for stat in store.list("run/")} == {"step-00000020", "step-00000030"}


def test_closing_tells_what_was_not_sent(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    store.error = ConnectionError("no route to host")
    uploader = start(wait=wait_fixed(3600))
    uploader.submit(sealed(40))
    log.wait("upload_retry")
    began = time.monotonic()
    assert uploader.close(LONG_S)
    assert time.monotonic() - began < LONG_S / 2
    uploader.submit(sealed(50))
    assert [event for event in log.kinds() if event[0] != "upload_retry"] == [("upload_failed", 40), ("upload_dropped", 50)]


def test_closing_does_not_wait_for_ever(sealed: Any, start: Any, store: Gated) -> None:
    store.gate.clear()
    uploader = start()
    uploader.submit(sealed(40))
    assert store.started.wait(LONG_S)
    assert not uploader.close(0.01)


def test_one_whose_lease_is_taken_stops_and_says_why(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    place = RunStore(store=store, run="run")
    uploader = start(lease=Lease(place, attempt=1, writer="old"))
    uploader.submit(sealed(40))
    assert uploader.flush(LONG_S)
    Lease(place, attempt=2, writer="new").hold()
    uploader.submit(sealed(50))
    assert "attempt 2 (process new) has taken this run over" in log.wait("fenced")["message"]
    assert not uploader.flush(LONG_S)
    uploader.submit(sealed(60))
    assert log.kinds() == [("uploaded", 40), ("fenced", 50), ("upload_dropped", 60)]
    assert stored(store) == 40
    assert uploader.fenced is not None
    assert uploader.fenced.code == "fenced"


def test_an_idle_one_learns_of_its_successor_too(start: Any, store: Gated, log: Log) -> None:
    place = RunStore(store=store, run="run")
    uploader = start(lease=Lease(place, attempt=1, ttl_s=0.05))
    while not list(store.list("run/")):
        time.sleep(0.001)
    successor = Lease(place, attempt=2)
    while uploader.fenced is None:
        # A renewal may have been on its way when it wrote; it looks again, as it does before every change.
        successor.hold()
        time.sleep(0.001)
    log.wait("fenced")


def test_the_lease_is_given_back_at_the_end(start: Any, store: Gated) -> None:
    place = RunStore(store=store, run="run")
    assert start(attempt=3, lease=Lease(place, attempt=3)).close(LONG_S)
    Lease(place, attempt=1).hold()


def test_a_store_that_is_away_does_not_cost_the_lease(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    class Away(Lease):
        failures = 2

        def hold(self) -> None:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("no route to host")
            super().hold()

    uploader = start(lease=Away(RunStore(store=store, run="run"), attempt=1))
    log.wait("lease_failed")
    uploader.submit(sealed(40))
    assert uploader.flush(LONG_S)
    assert stored(store) == 40


def test_only_what_changed_is_sent(store: Gated, log: Log, sealed: Any) -> None:
    """Within a process, and by the next one, which looks for the newest checkpoint in the store."""
    place, frozen = RunStore(store=store, run="run"), {"tokenizer.json": b"the same" * 99}
    origins: list[str | None] = []
    put = store.put_file

    def watched(key: str, source: Path, *, origin: str | None = None) -> Digest:
        origins.append(None if origin is None else origin.split("/")[2])
        return replace(put(key, source, origin=origin), copied=origin is not None)

    store.put_file = watched  # type: ignore[method-assign]
    for step, attempt in ((10, 1), (20, 1), (30, 2)):
        if step != 20:
            uploader = Uploader(place, attempt=attempt, on_event=log)
        uploader.submit(sealed(step, files={**frozen, "model": b"%d" % step * 50}))
        assert uploader.flush(LONG_S)
        if step != 10:
            assert uploader.close(LONG_S)
    assert [fields["sent_bytes"] for kind, _, fields in log.events if kind == "uploaded"] == [892, 100, 100]
    assert sorted(origin for origin in origins if origin) == ["step-00000010", "step-00000020"]


def test_how_long_a_store_was_away_does_not_count_as_sending(sealed: Any, start: Any, store: Gated, log: Log) -> None:
    clock = [0.0]

    def away(_state: Any) -> float:
        # The pause that follows ends with the failure, by this clock ten thousand seconds later.
        store.error = None
        threading.Timer(0.05, lambda: clock.__setitem__(0, 10_000.0)).start()
        return 0.3

    store.error = ConnectionResetError("away")
    start(wait=away, clock=lambda: clock[0]).submit(sealed(40))
    assert log.wait("uploaded")["seconds"] < 100
