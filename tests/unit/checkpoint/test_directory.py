"""What only a directory store can get wrong, and the addresses that open one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.owner import Owner
from runtime.config.problem import ExitCode, UserError


def test_paths_and_file_urls_open_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    roots = {
        "/data/x": "/data/x",
        "file:///data/x": "/data/x",
        "FILE:///data/x": "/data/x",
        "file://localhost/data/x": "/data/x",
        "file:///data/a%20b": "/data/a b",
        "relative/x": str(tmp_path / "relative/x"),
        "~/x": "/home/someone/x",
    }
    for url, root in roots.items():
        store = open_store(url)
        assert isinstance(store, DirectoryStore)
        assert str(store.root) == root
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("hf://model", "wrong-type", "OWNER/NAME"),
        ("ftp://host/x", "unknown-name", "ftp://"),
        ("file://data/x", "wrong-type", "three slashes"),
        ("file://", "wrong-type", "three slashes"),
        ("", "wrong-type", "path or a URL"),
        ("  ", "wrong-type", "path or a URL"),
    ],
)
def test_other_addresses_are_refused_with_a_reason(url: str, code: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        open_store(url)
    assert (caught.value.problems[0].code, caught.value.exit_code) == (code, ExitCode.INVALID)
    assert caught.value.problems[0].fix


def test_a_near_miss_gets_a_suggestion() -> None:
    with pytest.raises(UserError) as caught:
        open_store("files:///data")
    assert caught.value.problems[0].suggestion == "file://"


def test_a_symbolic_link_does_not_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    store = DirectoryStore(tmp_path / "store")
    store.put_bytes("run/a", b"x")
    (store.root / "run" / "link").symlink_to(outside)
    (store.root / "run" / "file").symlink_to(outside / "secret")
    for key in ("run/link/secret", "run/file"):
        with pytest.raises(ValueError, match="symbolic link"):
            list(store.read(key))
    with pytest.raises(ValueError, match="symbolic link"):
        store.put_bytes("run/link/new", b"x")
    assert [stat.key for stat in store.list("")] == ["run/a"]
    assert [entry.name for entry in outside.iterdir()] == ["secret"]


def test_what_is_on_its_way_cannot_be_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reserved"):
        DirectoryStore(tmp_path).put_bytes(".partial/x", b"")


def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    partial = tmp_path / ".partial"
    partial.mkdir()
    me = DirectoryStore(tmp_path)._partial()
    me.touch()
    owner = me.name.split("-")
    dead = partial / f"{Owner(host=owner[0], pid=int(owner[1]), started=int(owner[2]) + 1)}-aa"
    elsewhere = partial / "otherhost0-1-1-aa"
    silent = partial / "otherhost0-1-1-bb"
    for path in (dead, elsewhere, silent):
        path.touch()
    os.utime(silent, (1000, 1000))
    assert DirectoryStore(tmp_path).capabilities.conditional_put
    assert set(partial.iterdir()) == {me, elsewhere}


def test_silence_elsewhere_is_told_by_the_clock_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may be a file server's: by this machine's clock, a living writer elsewhere could be silent for hours."""
    partial = tmp_path / ".partial"
    partial.mkdir()
    elsewhere = partial / "otherhost0-1-1-aa"
    elsewhere.touch()
    monkeypatch.setattr("time.time", lambda: elsewhere.stat().st_mtime + 99_999)
    assert DirectoryStore(tmp_path).capabilities.conditional_put
    assert [*partial.iterdir()] == [elsewhere]


def test_what_is_on_its_way_need_not_be_listed(tmp_path: Path, as_nobody: Callable[[Callable[[], object]], str]) -> None:
    partial = tmp_path / ".partial"
    partial.mkdir()
    partial.chmod(0o333)

    def probe() -> None:
        with pytest.raises(PermissionError):
            list(partial.iterdir())
        assert DirectoryStore(tmp_path).capabilities.conditional_put

    assert as_nobody(probe) == ""


def test_a_file_system_without_links_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object, **_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = DirectoryStore(tmp_path)
    assert not store.capabilities.conditional_put
    store.put_bytes("run/a", b"x")
    with pytest.raises(ValueError, match="cannot create conditionally"):
        store.put_bytes("run/b", b"x", create=True)


def test_a_file_where_the_folder_should_be_is_not_taken_for_a_lost_race(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(UserError, match="Not a directory"):
        DirectoryStore(tmp_path / "store").put_bytes("run/a", b"x", create=True)


def test_a_full_store_says_so_and_keeps_nothing_half(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        (tmp_path / "big").write_bytes(b"x" * 2_000_000)
        store = DirectoryStore(disk)
        store.put_bytes("run/a", b"x")
        with pytest.raises(UserError, match="disk is full"):
            store.put_file("run/big", tmp_path / "big")
        assert [stat.key for stat in store.list("")] == ["run/a"]
        assert list((disk / ".partial").iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
