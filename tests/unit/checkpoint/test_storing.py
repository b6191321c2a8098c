"""Sealing in a store: at every failing request, and with a second writer at every moment of the first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.checksum import Digest, digest_file
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.manifest import Manifest
from runtime.checkpoint.restore import find_newest
from runtime.checkpoint.retention import Keep, prune_stored
from runtime.checkpoint.store import Capabilities, Stat
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.checkpoint.storing import LostError, NotUploadableError, seal_in_store
from runtime.checkpoint.transit import Arrived, nobody

FINAL_KEY = "run/checkpoints/step-00000040/manifest.json"


class Watched:
    """A real store that calls `before(request, key)` ahead of every request, and may be one that cannot create conditionally."""

    def __init__(self, root: Path, *, conditional: bool = True) -> None:
        self.inner = DirectoryStore(root)
        self.before: Callable[[str, str], None] = lambda _request, _key: None
        self.capabilities = Capabilities(conditional_put=conditional)

    def put_file(self, key: str, source: Path, *, origin: str | None = None) -> Digest:
        self.before("put", key)
        if origin is not None:
            self.before("copy", origin)
            self.inner.put_bytes(key, b"".join(self.inner.read(origin)))
            return replace(digest_file(source), copied=True)
        return self.inner.put_file(key, source)

    def put_bytes(self, key: str, content: bytes, *, create: bool = False, replaces: str | None = None) -> None:
        self.before("put", key)
        self.inner.put_bytes(key, content, create=create, replaces=replaces)

    def get_file(self, key: str, target: Path, *, arrived: Arrived = nobody) -> Digest:
        self.before("get", key)
        return self.inner.get_file(key, target, arrived=arrived)

    def read(self, key: str) -> Iterator[bytes]:
        self.before("get", key)
        yield from self.inner.read(key)

    def list(self, prefix: str) -> Iterator[Stat]:
        self.before("list", prefix)
        return self.inner.list(prefix)

    def folders(self, prefix: str) -> Iterator[str]:
        self.before("list", prefix)
        return self.inner.folders(prefix)

    def stat(self, key: str) -> Stat | None:
        self.before("stat", key)
        return self.inner.stat(key)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        self.inner.delete(key)

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        self.before("drop", prefix)

    def url(self, key: str = "") -> str:
        return self.inner.url(key)


def run_in(store: Any) -> RunStore:
    return RunStore(store=store, run="run")


def newest_is_whole(place: RunStore) -> Manifest | None:
    """The manifest of step 40, if there is one; what it names is there and matches."""
    try:
        manifest = place.manifest("checkpoints/step-00000040")
    except FileNotFoundError:
        return None
    assert verify_stored(place, manifest) == ()
    return manifest


def count_requests(tmp_path: Path, folder: Path) -> int:
    store, seen = Watched(tmp_path / "counted"), []
    store.before = lambda request, key: seen.append((request, key))
    seal_in_store(run_in(store), folder, writer="1-aaaa")
    return len(seen)


def test_objects_first_then_read_back_then_the_manifest(sealed: Any, tmp_path: Path) -> None:
    store, seen = Watched(tmp_path / "store"), []
    store.before = lambda request, key: seen.append((request, key))
    manifest = seal_in_store(run_in(store), sealed(40), writer="1-aaaa")
    assert [file.key for file in manifest.files] == [f"checkpoints/step-00000040/1-aaaa/{file.path}" for file in manifest.files]
    puts = [key for request, key in seen if request == "put"]
    assert puts[-1] == FINAL_KEY
    assert set(puts[:-1]) == {f"run/{file.key}" for file in manifest.files}
    for key in puts[:-1]:
        assert seen.index(("put", key)) < seen.index(("get", key)) < seen.index(("put", FINAL_KEY))


def test_any_request_may_fail_and_a_second_call_finishes(sealed: Any, tmp_path: Path) -> None:
    folder = sealed(40)
    total = count_requests(tmp_path, folder)
    assert total > 7
    for failing in range(total):
        store = Watched(tmp_path / f"store-{failing}")
        place = run_in(store)
        lock, seen = threading.Lock(), iter(range(10_000))

        def fail(_request: str, _key: str, failing: int = failing, seen: Iterator[int] = seen, lock: Any = lock) -> None:
            with lock:
                if next(seen) == failing:
                    raise ConnectionResetError("reset by peer")

        store.before = fail
        sent: dict[str, int] = {}
        with pytest.raises(ConnectionResetError):
            seal_in_store(place, folder, writer="1-aaaa", sent=sent)
        store.before = lambda _request, _key: None
        newest_is_whole(place)
        resent: list[str] = []
        store.before = lambda request, key, resent=resent: resent.append(key) if request == "put" else None
        seal_in_store(place, folder, writer="1-aaaa", sent=sent)
        assert newest_is_whole(place) is not None
        assert (
            not {key.removeprefix("run/checkpoints/step-00000040/1-aaaa/") for key in resent} & (sent.keys() - {FINAL_KEY})
            or failing < total - 1
        )


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("same_content", [True, False])
def test_a_second_writer_at_every_moment_of_the_first(sealed: Any, tmp_path: Path, conditional: bool, same_content: bool) -> None:
    first = sealed(40, attempt=1)
    second = sealed(40, attempt=2, checkpoints=tmp_path / "second", **({} if same_content else {"files": {"model": b"other"}}))
    winners = set()
    for moment in range(count_requests(tmp_path, first)):
        root = tmp_path / f"store-{moment}"
        store, other = Watched(root, conditional=conditional), run_in(Watched(root, conditional=conditional))
        lock, seen, outcomes = threading.Lock(), iter(range(10_000)), {}

        def seal_as(name: str, place: RunStore, folder: Path, outcomes: dict[str, str] = outcomes) -> None:
            try:
                seal_in_store(place, folder, writer=name)
                outcomes[name] = "sealed"
            except LostError as error:
                outcomes[name] = f"lost to {error.winner.attempt}"

        def interrupt(
            _request: str, _key: str, moment: int = moment, seen: Any = seen, lock: Any = lock, seal_as: Any = seal_as, other: Any = other
        ) -> None:
            with lock:
                if next(seen) == moment:
                    seal_as("2-bbbb", other, second)

        store.before = interrupt
        seal_as("1-aaaa", run_in(store), first)
        manifest = newest_is_whole(other)
        assert manifest is not None
        winners.add(manifest.attempt)
        if same_content:
            assert outcomes == {"1-aaaa": "sealed", "2-bbbb": "sealed"}
        elif conditional:
            losers = {name: outcome for name, outcome in outcomes.items() if outcome != "sealed"}
            assert losers == ({"1-aaaa": "lost to 2"} if manifest.attempt == 2 else {"2-bbbb": "lost to 1"})
    assert winners == {1, 2} or same_content or not conditional


def test_a_broken_manifest_in_the_way_is_replaced(sealed: Any, tmp_path: Path) -> None:
    store = Watched(tmp_path / "store")
    store.put_bytes(FINAL_KEY, b"{ torn")
    seal_in_store(run_in(store), sealed(40), writer="2-bbbb")
    assert newest_is_whole(run_in(store)) is not None


def test_a_manifest_whose_objects_are_gone_is_replaced(sealed: Any, tmp_path: Path) -> None:
    place, folder = run_in(Watched(tmp_path / "store")), sealed(40)
    manifest = seal_in_store(place, folder, writer="1-aaaa")
    place.store.delete(f"run/{manifest.files[0].key}")
    seal_in_store(place, folder, writer="2-bbbb")
    renewed = newest_is_whole(place)
    assert renewed is not None
    assert "2-bbbb" in (renewed.files[0].key or "")


def test_sealing_the_same_again_sends_nothing(sealed: Any, tmp_path: Path) -> None:
    store, folder = Watched(tmp_path / "store"), sealed(40)
    seal_in_store(run_in(store), folder, writer="1-aaaa")
    seen: list[str] = []
    store.before = lambda request, _key: seen.append(request)
    seal_in_store(run_in(store), folder, writer="2-bbbb")
    assert set(seen) <= {"get", "stat"}


def test_a_store_that_changes_bytes_is_caught(sealed: Any, tmp_path: Path) -> None:
    store, damaged = Watched(tmp_path / "store"), []

    def damage(request: str, key: str) -> None:
        if request == "get" and key.endswith("trainer_state.json") and not damaged:
            path = store.inner.root / key
            path.write_bytes(path.read_bytes()[:-1] + b"!")
            damaged.append(key)

    store.before = damage
    sent: dict[str, int] = {}
    with pytest.raises(OSError, match="differs from what was sent"):
        seal_in_store(run_in(store), sealed(40), writer="1-aaaa", sent=sent)
    assert "trainer_state.json" not in sent
    assert newest_is_whole(run_in(store)) is None
    seal_in_store(run_in(store), sealed(40, checkpoints=tmp_path / "again"), writer="1-aaaa", sent=sent)
    assert newest_is_whole(run_in(store)) is not None


@pytest.mark.parametrize("damage", ["flip", "unlink", "unsealed"])
def test_a_damaged_local_checkpoint_is_not_spread(sealed: Any, tmp_path: Path, damage: str) -> None:
    folder, place = sealed(40), run_in(Watched(tmp_path / "store"))
    match damage:
        case "flip":
            (folder / "trainer_state.json").write_bytes(b'{"step": 2}')
        case "unlink":
            (folder / "trainer_state.json").unlink()
        case "unsealed":
            (folder / "manifest.json").unlink()
    with pytest.raises(NotUploadableError):
        seal_in_store(place, folder, writer="1-aaaa")
    assert newest_is_whole(place) is None


def test_the_final_model_of_a_longer_training_replaces_the_earlier_one(sealed: Any, tmp_path: Path) -> None:
    place = run_in(Watched(tmp_path / "store"))
    old = seal_in_store(place, sealed(40, kind="final", files={"model": b"old"}), writer="1-aaaa")
    seal_in_store(place, sealed(80, kind="final", attempt=2, files={"model": b"new"}), writer="2-bbbb")
    manifest = place.manifest("final")
    assert (manifest.step, verify_stored(place, manifest)) == (80, ())
    assert place.store.stat(f"run/{old.files[0].key}") is None
    with pytest.raises(LostError):
        seal_in_store(place, sealed(41, kind="final", attempt=1, files={"model": b"zombie"}), writer="1-zzzz")
    assert place.manifest("final") == manifest


def test_what_is_in_the_store_can_be_found_again(sealed: Any, tmp_path: Path) -> None:
    place = run_in(Watched(tmp_path / "store"))
    for step in (9, 40):
        seal_in_store(place, sealed(step), writer="1-aaaa")
    found = find_newest([place])
    assert found is not None
    assert found.step == 40


def test_what_was_sent_before_and_is_gone_is_sent_again(sealed: Any, tmp_path: Path) -> None:
    store, folder, sent = Watched(tmp_path / "store"), sealed(40), dict[str, int]()

    def fail(request: str, key: str) -> None:
        if (request, key) == ("put", FINAL_KEY):
            raise ConnectionResetError("reset by peer")

    store.before = fail
    with pytest.raises(ConnectionResetError):
        seal_in_store(run_in(store), folder, writer="1-aaaa", sent=sent)
    assert set(sent) == {"adapter_model.safetensors", "trainer_state.json", "rng/rank-0.pt"}
    store.inner.delete("run/checkpoints/step-00000040/1-aaaa/trainer_state.json")
    store.before = lambda _request, _key: None
    seal_in_store(run_in(store), folder, writer="1-aaaa", sent=sent)
    assert newest_is_whole(run_in(store)) is not None


@pytest.mark.parametrize("conditional", [True, False])
def test_what_is_replaced_is_never_away(sealed: Any, tmp_path: Path, conditional: bool) -> None:
    store = Watched(tmp_path / "store", conditional=conditional)
    seal_in_store(run_in(store), sealed(40, kind="final", files={"model": b"old"}), writer="1-aaaa")
    away: list[str] = []

    def look(request: str, key: str) -> None:
        if store.inner.stat("run/final/manifest.json") is None:
            away.append(f"{request} {key}")

    store.before = look
    seal_in_store(run_in(store), sealed(80, kind="final", attempt=2, files={"model": b"new"}), writer="2-bbbb")
    assert away == []
    assert run_in(store).manifest("final").step == 80


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_one_who_may_not_go_on_publishes_nothing(sealed: Any, tmp_path: Path, calls: int) -> None:
    place, asked = run_in(Watched(tmp_path / "store")), iter(range(100))

    def guard() -> None:
        if next(asked) >= calls:
            raise PermissionError("not any more")

    with pytest.raises(PermissionError):
        seal_in_store(place, sealed(40), writer="1-aaaa", guard=guard)
    assert newest_is_whole(place) is None


def test_what_an_earlier_checkpoint_has_is_not_sent_again(sealed: Any, tmp_path: Path) -> None:
    store = Watched(tmp_path / "store")
    place, sent = run_in(store), dict[str, int]()
    first = sealed(30, files={"model": b"of 30" * 400, "tokenizer.json": b"the same" * 400, "empty": b""})
    second = sealed(40, files={"model": b"of 40" * 400, "tokenizer.json": b"the same" * 400, "empty": b""})
    earlier = seal_in_store(place, first, writer="1-aaaa")
    copied: list[str] = []
    store.before = lambda request, key: copied.append(key) if request == "copy" else None
    manifest = seal_in_store(place, second, writer="1-aaaa", earlier=earlier, sent=sent)
    assert copied == ["run/checkpoints/step-00000030/1-aaaa/tokenizer.json"]
    assert sent == {"model": 2000, "tokenizer.json": 0, "empty": 0}
    # Whole by itself: the earlier one may go.
    store.before = lambda _request, _key: None
    prune_stored(place, Keep(last=1), attempt=1)
    assert place.steps() == {40: True}
    assert verify_stored(place, manifest) == ()


def test_a_damaged_original_is_not_handed_on(sealed: Any, tmp_path: Path) -> None:
    store = Watched(tmp_path / "store")
    place, sent, files = run_in(store), dict[str, int](), {"model": b"as it was" * 100}
    earlier = seal_in_store(place, sealed(30, files=files), writer="1-aaaa")
    store.inner.put_bytes("run/checkpoints/step-00000030/1-aaaa/model", b"as it wos" * 100)
    manifest = seal_in_store(place, sealed(40, files=files), writer="1-aaaa", earlier=earlier, sent=sent)
    assert sent == {"model": 900}
    assert verify_stored(place, manifest) == ()
