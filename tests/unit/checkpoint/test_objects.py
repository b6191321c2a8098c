"""An object store over a service that fails on purpose: what was sent wrong is noticed, what is read is one version, nothing is left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_service import PIECE_BYTES, Memory
from tenacity import wait_none

from runtime.checkpoint import retry
from runtime.checkpoint.bandwidth import Unlimited
from runtime.checkpoint.checksum import LEAF_BYTES, digest_bytes
from runtime.checkpoint.objects import ObjectStore
from runtime.checkpoint.parts import PART_BYTES, SLOTS, Parts, part_bytes
from runtime.checkpoint.refusal import no_permission, refused
from runtime.checkpoint.service import Head
from runtime.checkpoint.span import span_bytes
from runtime.config.problem import UserError


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_WAIT", wait_none())


def failing(times: int, request: str, error: Exception) -> Callable[[str], None]:
    left = [times]

    def on(what: str) -> None:
        if what == request and left[0]:
            left[0] -= 1
            raise error

    return on


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("mangle", [lambda content: content[:-1], lambda content: content + b"x"])
def test_an_object_of_another_size_is_removed_again(tmp_path: Path, sums: bool, mangle: Callable[[bytes], bytes]) -> None:
    service = Memory(sums=sums)
    service.mangle = mangle
    (tmp_path / "source").write_bytes(b"content")
    with pytest.raises(ConnectionError, match="differs from what was sent"):
        ObjectStore(service, Unlimited()).put_file("run/a", tmp_path / "source")
    assert service.objects == {}


def test_a_store_that_does_not_know_at_once_what_it_has_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    service, stale = Memory(), [2]

    def head(name: str) -> Head | None:
        if name.endswith("run/a") and stale[0]:
            stale[0] -= 1
            return None
        return Memory.head(service, name)

    service.head = head  # type: ignore[method-assign]
    asked: list[str] = []
    service.on = asked.append
    assert ObjectStore(service, Unlimited()).put_file("run/a", tmp_path / "source").confirmed
    assert asked.count("part") == 1


@pytest.mark.parametrize("sums", [True, False])
def test_a_big_file_that_arrived_and_was_not_noted_is_not_sent_again(tmp_path: Path, sums: bool) -> None:
    """Its process died, or was told that the request failed. Only where the store's own sum says that it is the same."""
    service, content = Memory(sums=sums), b"x" * (PART_BYTES + 1)
    (tmp_path / "source").write_bytes(content)
    asked: list[str] = []
    for there, parts in ((content, 0 if sums else 2), (content[:-1] + b"y", 2), (content[:-1], 2)):
        service.objects["deep/run/a"] = (1, there)
        asked.clear()
        service.on = asked.append
        sent = ObjectStore(service, Unlimited()).put_file("run/a", tmp_path / "source")
        assert sent == digest_bytes(content)
        assert (asked.count("part"), sent.copied, sent.confirmed) == (parts, parts == 0, sums)
        assert service.objects["deep/run/a"][1] == content


def test_a_checksum_that_is_believed_must_match(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    service = Memory()
    service.mangle = lambda content: b"C" + content[1:]
    with pytest.raises(ConnectionError, match="differs from what was sent"):
        ObjectStore(service, Unlimited()).put_file("run/a", tmp_path / "source")
    assert service.objects == {}

    silent = Memory(sums=False)
    silent.mangle = service.mangle
    assert not ObjectStore(silent, Unlimited()).put_file("run/a", tmp_path / "source").confirmed
    assert ObjectStore(Memory(), Unlimited()).put_file("run/a", tmp_path / "source").confirmed


def test_a_store_that_forgets_conditions_is_found_out() -> None:
    service = Memory()
    service.conditions = False
    found = ObjectStore(service, Unlimited()).capabilities
    assert (found.conditional_put, found.conditional_replace, found.checksums) == (False, False, True)
    assert service.objects == {}


def test_a_store_that_answers_conditions_with_an_error_is_found_out_too() -> None:
    service = Memory()
    service.on = failing(1, "put", refused(service.address, "x", "501 not implemented"))
    assert not ObjectStore(service, Unlimited()).capabilities.conditional_put


def test_a_probe_that_the_library_sent_twice_is_understood() -> None:
    service = Memory()
    real, sent = service.put, [0]

    def put(name: str, content: bytes, *, create: bool, replaces: str | None, checksums: bool = False) -> None:
        sent[0] += 1
        real(name, content, create=create, replaces=replaces)
        if sent[0] == 1:
            raise FileExistsError(name)

    service.put = put  # type: ignore[method-assign]
    assert ObjectStore(service, Unlimited()).capabilities.conditional_replace


def test_a_probe_that_fails_is_asked_again() -> None:
    service = Memory()
    store = ObjectStore(service, Unlimited())
    service.on = failing(1, "put", no_permission(service.address, "", "403"))
    with pytest.raises(UserError):
        _ = store.capabilities
    assert store.capabilities.conditional_put


@pytest.mark.parametrize("together", [True, False])
def test_a_part_that_fails_is_fetched_again(tmp_path: Path, together: bool) -> None:
    service, content = Memory(together=together), bytes(range(256)) * (PART_BYTES // 64)
    store = ObjectStore(service, Unlimited())
    service.objects["deep/run/a"] = (1, content)
    service.on = failing(3, "get", ConnectionResetError("reset"))
    assert store.get_file("run/a", tmp_path / "target") == digest_bytes(content)
    service.on = failing(10_000, "get", ConnectionResetError("reset"))
    for turn in range(2 * SLOTS):
        with pytest.raises(ConnectionResetError):
            store.get_file("run/a", tmp_path / f"again-{turn}")
    service.on = lambda _request: None
    assert digest_bytes(b"".join(store.read("run/a"))) == digest_bytes(content), "no slot was lost to the failures"


@pytest.mark.parametrize("together", [True, False])
def test_what_has_arrived_when_an_answer_breaks_off_is_not_asked_for_again(tmp_path: Path, together: bool) -> None:
    service, content = Memory(together=together), bytes(range(256)) * (PART_BYTES // 256)
    service.objects["deep/run/a"] = (1, content)
    pieces = [0]

    def on(request: str) -> None:
        pieces[0] += request == "piece"
        # Every second piece is lost with its answer: more often than a request that brings nothing is repeated.
        if request == "piece" and pieces[0] % 2 == 0:
            raise ConnectionResetError("reset")

    service.on = on
    store = ObjectStore(service, Unlimited())
    for get in (lambda: store.get_file("run/a", tmp_path / "target"), lambda: digest_bytes(b"".join(store.read("run/a")))):
        pieces[0] = 0
        assert get() == digest_bytes(content)
        assert pieces[0] == 2 * (PART_BYTES // PIECE_BYTES) - 1


def test_an_object_is_asked_for_once_where_its_beginning_tells_of_it(tmp_path: Path) -> None:
    asked: list[str] = []
    for together, size, requests in (
        (True, 7, 1),
        (False, 7, 1),
        (True, 2 * PART_BYTES + 1, 3),
        (False, 2 * PART_BYTES + 1, 3),
        (True, 0, 0),
    ):
        service = Memory(together=together)
        service.objects["deep/run/a"], service.on = (1, b"x" * size), asked.append
        for get in (
            lambda service=service: ObjectStore(service, Unlimited()).get_file("run/a", tmp_path / "target"),  # type: ignore[misc]
            lambda service=service: digest_bytes(b"".join(ObjectStore(service, Unlimited()).read("run/a"))),  # type: ignore[misc]
        ):
            asked.clear()
            (tmp_path / "target").unlink(missing_ok=True)
            assert get() == digest_bytes(b"x" * size)
            assert (asked.count("head"), asked.count("get")) == (1, requests)


@pytest.mark.parametrize("wrong", [b"", b"one byte more than asked"])
def test_an_answer_of_another_size_is_none(tmp_path: Path, wrong: bytes) -> None:
    service = Memory()
    service.objects["deep/run/a"] = (1, b"one byte more than aske")
    service.get = lambda _head, _offset, _count: (piece for piece in [wrong])  # type: ignore[method-assign, return-value]
    with pytest.raises(ConnectionError, match="arrived"):
        ObjectStore(service, Unlimited()).get_file("run/a", tmp_path / "target")


@pytest.mark.parametrize("together", [True, False])
def test_a_file_is_one_version_even_when_it_was_begun_with_another(tmp_path: Path, together: bool) -> None:
    service = Memory(together=together)
    store = ObjectStore(service, Unlimited())
    service.objects["deep/run/a"] = (1, b"x" * (2 * PART_BYTES))

    def replace_once(request: str) -> None:
        if request == "piece":
            service.on = lambda _request: None
            service.objects["deep/run/a"] = (2, b"shorter")

    service.on = replace_once
    assert store.get_file("run/a", tmp_path / "target") == digest_bytes(b"shorter")
    assert (tmp_path / "target").read_bytes() == b"shorter"


@pytest.mark.parametrize("together", [True, False])
def test_a_reader_gets_one_version(tmp_path: Path, together: bool) -> None:
    service = Memory(together=together)
    store = ObjectStore(service, Unlimited())
    store.put_bytes("run/a", b"first")

    def replace_once(request: str) -> None:
        if request == "get":
            service.on = lambda _request: None
            service.objects["deep/run/a"] = (2, b"the second")

    service.on = replace_once
    assert b"".join(store.read("run/a")) == b"the second"


def test_a_reader_that_stops_early_gives_its_slots_back() -> None:
    service = Memory()
    store = ObjectStore(service, Unlimited())
    service.objects["deep/run/a"] = (1, b"x" * (3 * PART_BYTES))
    for _ in range(2 * SLOTS):
        reader = store.read("run/a")
        next(reader)
        reader.close()
    together = threading.Barrier(3)
    service.on = lambda request: together.wait(10) and None if request == "get" else None
    assert sum(len(part) for part in store.read("run/a")) == 3 * PART_BYTES


def test_a_failed_upload_leaves_nothing_under_way(tmp_path: Path) -> None:
    service = Memory()
    store = ObjectStore(service, Unlimited())
    assert store.capabilities.checksums
    with (tmp_path / "source").open("wb") as stream:
        stream.truncate(4 * PART_BYTES)
    for _ in range(2 * SLOTS):
        service.on = failing(1, "part", ConnectionResetError("reset"))
        with pytest.raises(ConnectionResetError):
            store.put_file("run/a", tmp_path / "source")
    assert service.objects == {}
    service.on = lambda _request: None
    assert store.put_file("run/a", tmp_path / "source").size == 4 * PART_BYTES


def test_no_more_parts_are_in_memory_than_slots(tmp_path: Path) -> None:
    parts, lock = Parts("test", Unlimited()), threading.Lock()
    now, most = [0], [0]

    def put(_number: int, content: memoryview) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.002)
        with lock:
            now[0] -= 1
        return len(content)

    for name in ("a", "b"):
        with (tmp_path / name).open("wb") as stream:
            stream.truncate(SLOTS * PART_BYTES + 1)
    sizes: list[int] = []
    threads = [threading.Thread(target=lambda name=name: sizes.extend(parts.send(tmp_path / name, 1, put)[1])) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sizes) == 2 * (SLOTS * PART_BYTES + 1)
    assert most[0] <= SLOTS


def test_memory_of_parts_is_used_again_and_then_given_back(tmp_path: Path) -> None:
    parts, seen = Parts("test", Unlimited()), set()
    with (tmp_path / "a").open("wb") as stream:
        stream.truncate(4 * SLOTS * PART_BYTES)
    parts.send(tmp_path / "a", 4 * SLOTS * PART_BYTES, lambda _number, content: seen.add(id(content.obj)))
    assert len(seen) <= SLOTS
    assert parts._buffers._spare == []


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, 9_000 * PART_BYTES, 9_000 * PART_BYTES + 1, 10**12, 5 * 10**12])
def test_parts_are_few_enough_for_every_service(size: int) -> None:
    step = part_bytes(size)
    assert step >= PART_BYTES
    assert step % (1 << 20) == 0
    assert -(-size // step) <= 10_000
    assert step <= part_bytes(size, 2 * PART_BYTES) <= max(step, 2 * PART_BYTES)


@pytest.mark.parametrize("sums", [True, False])
def test_small_objects_announce_their_checksum_where_it_is_compared(sums: bool) -> None:
    asked: list[str] = []
    service = Memory(sums=sums)
    store = ObjectStore(service, Unlimited())
    assert store.capabilities.checksums == sums
    service.on = asked.append
    store.put_bytes("run/manifest.json", b"{}", create=True)
    assert asked == [f"put {sums}"]


def test_keys_of_the_probe_are_reserved() -> None:
    store = ObjectStore(Memory(), Unlimited())
    with pytest.raises(ValueError, match="reserved"):
        store.put_bytes(".probe/x", b"")


@given(st.integers(0, 1 << 40), st.sampled_from([8 << 20, 32 << 20]), st.sampled_from([1, 4]))
def test_spans_are_whole_leaves_and_grow_with_the_object(size: int, least: int, times: int) -> None:
    step = span_bytes(size, least, times * least)
    assert step % LEAF_BYTES == 0
    assert least <= step <= times * least
    assert step == least or size > 16 * least
