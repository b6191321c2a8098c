"""What every store must do, run against each one there is."""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from object_servers import ObjectServer, go_online

from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.parts import PART_BYTES
from runtime.checkpoint.store import Store, digest_object, get_bytes
from runtime.config.problem import UserError

# What a probe finds each to honour: creating, replacing, checksums.
HONOURED = {
    "directory": (True, False, False),
    "seaweedfs": (True, True, True),
    "juicefs": (False, False, False),
    "moto": (True, True, False),
    "fakegcs": (True, True, True),
    "azurite": (True, True, False),
    "hub": (True, True, True),
}


@pytest.fixture(scope="module", params=HONOURED)
def kind(request: pytest.FixtureRequest) -> str:
    """Which implementation; add one by its name in HONOURED and in `object_servers`."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def opened(kind: str, tmp_path_factory: pytest.TempPathFactory, object_server: Callable[[str], ObjectServer]) -> Iterator[Store]:
    if kind == "directory":
        yield open_store((tmp_path_factory.mktemp("directory") / "store").as_uri())
        return
    server = object_server(kind)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        go_online(patch, kind)
        yield open_store(f"{server.address}/deep/some prefix")


@pytest.fixture
def store(opened: Store) -> Iterator[Store]:
    """An empty store."""
    yield opened
    for stat in list(opened.list("")):
        opened.delete(stat.key)


def content_of(store: Store, key: str) -> bytes:
    return b"".join(store.read(key))


def version_of(store: Store, key: str) -> str:
    stat = store.stat(key)
    assert stat is not None
    assert stat.version is not None
    return stat.version


def test_an_empty_store_answers(store: Store) -> None:
    assert list(store.list("")) == []
    assert list(store.list("run/")) == []
    assert store.stat("run/a") is None
    store.delete("run/a")
    with pytest.raises(FileNotFoundError):
        content_of(store, "run/a")


def test_a_file_goes_there_and_back(store: Store, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content)
    expected = digest_bytes(content)
    assert store.put_file("run/deep/down/model.safetensors", source) == expected
    assert digest_object(store, "run/deep/down/model.safetensors") == expected
    assert store.get_file("run/deep/down/model.safetensors", target) == expected
    assert target.read_bytes() == content
    stat = store.stat("run/deep/down/model.safetensors")
    assert stat is not None
    assert (stat.key, stat.size) == ("run/deep/down/model.safetensors", len(content))


def test_empty_objects_are_objects(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    store.put_file("run/a", tmp_path / "empty")
    store.put_bytes("run/b", b"")
    assert [(stat.key, stat.size) for stat in store.list("run/")] == [("run/a", 0), ("run/b", 0)]
    assert content_of(store, "run/a") == b""


def test_a_put_replaces(store: Store) -> None:
    store.put_bytes("run/a", b"a longer first")
    store.put_bytes("run/a", b"second")
    assert content_of(store, "run/a") == b"second"


def test_reading_comes_in_bounded_chunks(store: Store, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 9_000_000)
    store.put_file("run/big", tmp_path / "big")
    chunks = [len(chunk) for chunk in store.read("run/big")]
    assert sum(chunks) == 9_000_000
    assert max(chunks) <= 8 << 20


def test_a_small_read_has_a_limit(store: Store) -> None:
    store.put_bytes("run/a", b"x" * 100)
    assert get_bytes(store, "run/a", limit=100) == b"x" * 100
    with pytest.raises(UserError, match="larger than"):
        get_bytes(store, "run/a", limit=99)


def test_listing_is_by_folder_and_in_order(store: Store) -> None:
    for key in ("run/b", "run/a/2", "run/a/1", "running/x", "a"):
        store.put_bytes(key, key.encode())
    assert [stat.key for stat in store.list("run/")] == ["run/a/1", "run/a/2", "run/b"]
    assert [stat.key for stat in store.list("run/a/")] == ["run/a/1", "run/a/2"]
    assert [stat.key for stat in store.list("")] == ["a", "run/a/1", "run/a/2", "run/b", "running/x"]
    assert [stat.size for stat in store.list("run/a/")] == [7, 7]
    with pytest.raises(ValueError, match="slash"):
        list(store.list("ru"))


@pytest.fixture
def fresh(store: Store) -> Store:
    """A store below it where nothing has ever been: some show folders that were emptied a moment ago."""
    return open_store(store.url(str(uuid4())))


@pytest.fixture
def by_three(fresh: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Has lists come in pages of three, where they come in pages; which were asked for."""
    asked: list[str] = []

    def small(library: object, method: str, **page: int) -> None:
        real = getattr(library, method)
        monkeypatch.setattr(library, method, lambda *args, **options: asked.append(method) or real(*args, **page, **options))

    service: Any = getattr(fresh, "_service", None)
    if kind in ("seaweedfs", "juicefs", "moto"):
        small(service._client, "list_objects_v2", MaxKeys=3)
    elif kind == "fakegcs":
        small(service._client, "list_blobs", page_size=3)
    elif kind == "azurite":
        small(service._container, "walk_blobs", results_per_page=3)
    return asked


def test_folders_are_told_once_whatever_lies_in_them(fresh: Store) -> None:
    assert list(fresh.folders("")) == []
    assert list(fresh.folders("run/")) == []
    for key in ("run/b", "run/a/2", "run/a/1", "run/a/deep/down", "run/c.d/x", "running/x", "a"):
        fresh.put_bytes(key, key.encode())
    assert sorted(fresh.folders("")) == ["run", "running"]
    assert sorted(fresh.folders("run/")) == ["a", "c.d"]
    assert list(fresh.folders("run/a/")) == ["deep"]
    assert list(fresh.folders("run/a/deep/")) == []
    # An object, and nothing.
    assert list(fresh.folders("run/b/")) == []
    assert list(fresh.folders("run/missing/")) == []
    with pytest.raises(ValueError, match="slash"):
        list(fresh.folders("ru"))


def test_folders_may_be_more_than_a_page(fresh: Store, kind: str, by_three: list[str]) -> None:
    names = [f"step-{number:08d}" for number in range(7)]
    for name in names:
        for key in (f"{name}/1-aaaa/model", f"{name}/manifest.json", f"{name}/more", f"{name}.txt"):
            fresh.put_bytes(f"run/{key}", b"x")
    assert sorted(fresh.folders("run/")) == names
    if kind not in ("directory", "hub"):
        # Of 14 names, and not of 28 objects.
        assert 3 <= len(by_three) <= 6


ODD = ("a b", "a+b%20c", "what?#&=", "ä ß 漢", "..b", "-_~!$'()*,;:@", "%2F", "a.json")


def test_any_plain_name_can_be_a_folder(fresh: Store) -> None:
    for name in ODD:
        fresh.put_bytes(f"{name}/{name}/x", b"x")
    assert sorted(fresh.folders("")) == sorted(ODD)
    assert [list(fresh.folders(f"{name}/")) for name in ODD] == [[name] for name in ODD]


def test_an_object_may_be_named_like_a_folder(fresh: Store, kind: str) -> None:
    if kind in ("directory", "juicefs", "hub"):
        pytest.skip("here a name is a file or a folder")
    fresh.put_bytes("run/a/b", b"x")
    fresh.put_bytes("run/a", b"y")
    assert list(fresh.folders("run/")) == ["a"]
    assert content_of(fresh, "run/a/b") == b"x"


def test_what_others_have_put_there_is_told_where_its_name_can_be_a_key(fresh: Store, kind: str) -> None:
    if kind in ("directory", "hub"):
        pytest.skip("nobody can give such names here")
    service, start = fresh._service, fresh._below("")  # type: ignore[attr-defined]
    foreign = (".probe/x", "run/a/", "run/b\\c/x") if kind == "juicefs" else (".probe/x", "run/a/", "run/b\\c/x", "run//x", "//x")
    for name in (*foreign, "run/c/x"):
        service.put(start + name, b"", create=False, replaces=None)
    try:
        assert list(fresh.folders("")) == ["run"]
        # The one that ends in a slash is how consoles make a folder. Some servers take a backslash for a slash.
        assert set(fresh.folders("run/")) - {"a", "b"} == {"c"}
    finally:
        for name in foreign:
            service.delete(start + name)


def test_delete_removes_one_object(store: Store) -> None:
    for key in ("run/a/1", "run/a/2"):
        store.put_bytes(key, b"x")
    store.delete("run/a/1")
    assert [stat.key for stat in store.list("")] == ["run/a/2"]
    store.delete("run/a/2")
    assert list(store.list("")) == []
    store.put_bytes("run/a", b"now an object")
    assert content_of(store, "run/a") == b"now an object"


def test_the_probe_finds_what_is_honoured_and_leaves_nothing(store: Store, kind: str) -> None:
    found = store.capabilities
    assert (found.conditional_put, found.conditional_replace, found.checksums) == HONOURED[kind]
    assert list(store.list("")) == []


def test_what_a_killed_probe_left_goes_with_a_later_one(fresh: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind in ("directory", "hub"):
        pytest.skip("here a probe writes no objects")
    service, start = fresh._service, fresh._below(".probe/")  # type: ignore[attr-defined]
    left = {f"{start}0123456789abcdef-{what}" for what in ("condition", "checksum")}
    for name in left:
        service.put(name, b"1", create=False, replaces=None)
    assert fresh.capabilities
    assert {head.name for head in service.list(start)} == left, "a living one's"
    # Nobody waits for a day: now those are too old that are as old as the own.
    monkeypatch.setattr("runtime.checkpoint.probe.LEFT_S", -100.0)
    assert open_store(fresh.url()).capabilities == fresh.capabilities
    assert list(service.list(start)) == []


def test_what_is_not_honoured_is_refused_and_not_pretended(store: Store) -> None:
    store.put_bytes("run/a", b"there")
    if not store.capabilities.conditional_put:
        with pytest.raises(ValueError, match="create conditionally"):
            store.put_bytes("run/a", b"x", create=True)
    if not store.capabilities.conditional_replace:
        with pytest.raises(ValueError, match="replace conditionally"):
            store.put_bytes("run/a", b"x", replaces="1")
    assert content_of(store, "run/a") == b"there"


def test_a_replace_needs_the_version_that_was_read(store: Store) -> None:
    if not store.capabilities.conditional_replace:
        pytest.skip("this store cannot replace conditionally")
    store.put_bytes("run/a", b"first")
    first = version_of(store, "run/a")
    store.put_bytes("run/a", b"second!", replaces=first)
    with pytest.raises(FileExistsError):
        store.put_bytes("run/a", b"third", replaces=first)
    assert content_of(store, "run/a") == b"second!"
    second = version_of(store, "run/a")
    store.delete("run/a")
    with pytest.raises(FileExistsError):
        store.put_bytes("run/a", b"fourth", replaces=second)
    assert store.stat("run/a") is None


def test_an_upload_is_confirmed_where_the_store_sums_it(store: Store, tmp_path: Path) -> None:
    for size in (0, 100, PART_BYTES, 2 * PART_BYTES, 2 * PART_BYTES + 1):
        (tmp_path / "source").write_bytes(b"x" * size)
        assert store.put_file("run/a", tmp_path / "source").confirmed is store.capabilities.checksums, size


def test_what_the_store_has_already_is_not_sent_again(store: Store, kind: str, tmp_path: Path) -> None:
    content = random.Random(2).randbytes(PART_BYTES + 77)
    (tmp_path / "source").write_bytes(content)
    store.put_file("run/1/frozen", tmp_path / "source")
    made = store.put_file("run/2/frozen", tmp_path / "source", origin="run/1/frozen")
    assert made == digest_bytes(content)
    if kind not in ("directory", "hub"):
        assert made.copied
    store.delete("run/1/frozen")
    assert digest_object(store, "run/2/frozen") == digest_bytes(content)


def test_an_origin_that_is_gone_or_another_costs_only_the_sending(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"the content" * 99)
    for origin in ("run/1/gone", "run/1/another", "run/1/longer"):
        if origin != "run/1/gone":
            store.put_bytes(origin, b"not content" * (99 if origin == "run/1/another" else 100))
        made = store.put_file("run/2/a", tmp_path / "source", origin=origin)
        assert made == digest_bytes(b"the content" * 99)
        # What is neither sent nor vouched for is read back by whoever seals.
        if made.confirmed or not made.copied:
            assert content_of(store, "run/2/a") == b"the content" * 99


class Cut:
    """A line that breaks for good once `limit` bytes have left."""

    def __init__(self, limit: int) -> None:
        self.limit, self.sent = limit, 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        with self._lock:
            if self.sent + count > self.limit:
                raise PermissionError(errno.EACCES, "cut off")
            self.sent += count


@pytest.fixture
def cut(store: Store, kind: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Cut]:
    """Gives the store such a line."""
    if kind in ("directory", "hub"):
        pytest.skip("here a file is written as one, or parts are its library's")

    def install(limit: int) -> Cut:
        made = Cut(limit)
        monkeypatch.setattr(store._parts, "bandwidth", made)  # type: ignore[attr-defined]
        return made

    return install


def test_a_big_file_that_was_cut_off_goes_on_from_there(store: Store, cut: Callable[[int], Cut], tmp_path: Path) -> None:
    content = random.Random(3).randbytes(4 * PART_BYTES + 5)
    (tmp_path / "source").write_bytes(content)
    cut(2 * PART_BYTES)
    with pytest.raises(UserError):
        store.put_file("run/a", tmp_path / "source")
    assert store.stat("run/a") is None
    line = cut(1 << 40)
    assert store.put_file("run/a", tmp_path / "source") == digest_bytes(content)
    assert line.sent == 2 * PART_BYTES + 5
    assert digest_object(store, "run/a") == digest_bytes(content)


def test_another_content_takes_nothing_from_a_cut_off_upload(store: Store, cut: Callable[[int], Cut], tmp_path: Path) -> None:
    contents = [random.Random(seed).randbytes(3 * PART_BYTES + 5) for seed in (4, 5)]
    cut(PART_BYTES)
    for content in contents:
        (tmp_path / "source").write_bytes(content)
        if content is contents[0]:
            with pytest.raises(UserError):
                store.put_file("run/a", tmp_path / "source")
            line = cut(1 << 40)
    assert store.put_file("run/a", tmp_path / "source") == digest_bytes(contents[1])
    assert line.sent == len(contents[1])
    assert digest_object(store, "run/a") == digest_bytes(contents[1])


def test_what_was_cut_off_can_be_dropped(store: Store, kind: str, cut: Callable[[int], Cut], tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(random.Random(6).randbytes(4 * PART_BYTES))
    cut(PART_BYTES)
    with pytest.raises(UserError):
        store.put_file("run/checkpoints/1-aaaa/a", tmp_path / "source")
    seen: list[str] = []
    store.drop_unfinished("run/", lambda key: bool(seen.append(key)) or True)
    line = cut(1 << 40)
    store.put_file("run/checkpoints/1-aaaa/a", tmp_path / "source")
    if kind not in ("azurite", "fakegcs"):
        assert seen == ["run/checkpoints/1-aaaa/a"]
        assert line.sent == 4 * PART_BYTES


def test_parts_are_put_together_in_order(store: Store, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 * PART_BYTES + 12_345)
    (tmp_path / "source").write_bytes(content)
    assert store.put_file("run/a", tmp_path / "source") == digest_bytes(content)
    assert store.get_file("run/a", tmp_path / "target") == digest_bytes(content)
    assert (tmp_path / "target").read_bytes() == content
    assert [stat.size for stat in store.list("run/")] == [len(content)]


def test_a_missing_object_leaves_no_file(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.get_file("run/missing", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_create_lets_the_first_win(store: Store) -> None:
    if not store.capabilities.conditional_put:
        pytest.skip("this store cannot create conditionally")
    store.put_bytes("run/manifest.json", b"first", create=True)
    with pytest.raises(FileExistsError):
        store.put_bytes("run/manifest.json", b"second", create=True)
    assert content_of(store, "run/manifest.json") == b"first"
    store.delete("run/manifest.json")
    store.put_bytes("run/manifest.json", b"third", create=True)


def test_create_lets_exactly_one_of_many_win(store: Store) -> None:
    if not store.capabilities.conditional_put:
        pytest.skip("this store cannot create conditionally")
    winners: list[int] = []
    gate = threading.Barrier(8)

    def write(who: int) -> None:
        gate.wait()
        try:
            store.put_bytes("run/manifest.json", f"{who}".encode() * 1000, create=True)
            winners.append(who)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert content_of(store, "run/manifest.json") == f"{winners[0]}".encode() * 1000


def test_readers_see_whole_objects_only(store: Store, tmp_path: Path) -> None:
    sources = []
    for letter in (b"a", b"b"):
        sources.append(tmp_path / letter.decode())
        sources[-1].write_bytes(letter * 3_000_000)
    store.put_file("run/a", sources[0])
    done = threading.Event()

    def write() -> None:
        for turn in range(6):
            store.put_file("run/a", sources[turn % 2])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        assert content_of(store, "run/a") in (b"a" * 3_000_000, b"b" * 3_000_000)
        assert [(stat.key, stat.size) for stat in store.list("")] == [("run/a", 3_000_000)]
    thread.join()


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "run/../../x", "run//a", "run/./a", "run/", "run/a\\..\\b", "run/a\x00b"])
def test_a_key_that_is_no_relative_path_is_refused(store: Store, tmp_path: Path, key: str) -> None:
    (tmp_path / "source").touch()
    with pytest.raises(ValueError, match=r"path|name"):
        store.put_bytes(key, b"x")
    with pytest.raises(ValueError, match=r"path|name"):
        store.put_file(key, tmp_path / "source")
    with pytest.raises(ValueError, match=r"path|name"):
        list(store.read(key))
    with pytest.raises(ValueError, match=r"path|name"):
        store.delete(key)
    assert list(store.list("")) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.from_regex(r"[a-z0-9 _+%#?&=äß漢.-]{1,12}", fullmatch=True).filter(lambda part: part not in (".", "..")), min_size=1, max_size=4
    )
)
def test_any_plain_name_can_be_a_key_in_a_folder(tmp_path: Path, parts: list[str]) -> None:
    assert_usable(open_store(str(tmp_path)), "/".join(parts))


@pytest.mark.parametrize("name", ["a b", "a+b%20c", "what?#&=", "ä ß 漢", "a..b/..c/d", "-_~!$'()*,;:@"])
def test_any_plain_name_can_be_a_key(store: Store, name: str) -> None:
    assert_usable(store, name)


def assert_usable(store: Store, name: str) -> None:
    key = f"names/{name}.bin"
    store.put_bytes(key, key.encode())
    assert content_of(store, key) == key.encode()
    assert key in [stat.key for stat in store.list("names/")]
    store.delete(key)


def test_an_address_opens_the_same_store_again(store: Store) -> None:
    store.put_bytes("run/ä b", b"x")
    assert content_of(open_store(store.url()), "run/ä b") == b"x"
    assert store.url("run/ä b").startswith(store.url())


def test_a_missing_source_is_not_an_object(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file("run/a", tmp_path / "missing")
    assert list(store.list("")) == []


def test_puts_and_deletes_beside_each_other_do_not_disturb(store: Store) -> None:
    failures: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for _ in range(10):
                store.put_bytes(f"run/deep/{who}", b"x")
                store.delete(f"run/deep/{who}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(store.list("")) == []
