"""The newest checkpoint that verifies is taken, the others are named with their reasons."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tenacity import wait_none

from runtime.checkpoint import patience, restore
from runtime.checkpoint.checksum import digest_files
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.fetching import copy_sealed
from runtime.checkpoint.manifest import Manifest, read_manifest, verify
from runtime.checkpoint.restore import fetch, find_newest, restore_newest, survey
from runtime.checkpoint.retention import Keep, prune_stored
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.config.problem import UserError


def shorten(path: Path, by: int) -> None:
    with path.open("rb+") as stream:
        stream.truncate(path.stat().st_size - by)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def place(tmp_path: Path) -> RunStore:
    return RunStore(store=DirectoryStore(tmp_path / "store"), run="run")


def stored_file(place: RunStore, step: int, name: str) -> Path:
    assert isinstance(place.store, DirectoryStore)
    return place.store.root / "run" / "checkpoints" / f"step-{step:08d}" / "1-aaaa" / name


def test_nothing_to_go_on_from(tmp_path: Path, place: RunStore) -> None:
    (tmp_path / "checkpoints").mkdir()
    assert find_newest([]) is None
    assert find_newest([tmp_path / "missing", tmp_path / "checkpoints", place]) is None


def test_the_newest_is_taken_by_number_not_by_name(sealed: Any, tmp_path: Path) -> None:
    for step in (9, 100, 123456789):
        sealed(step)
    found = find_newest([tmp_path / "checkpoints"])
    assert found is not None
    assert (found.step, found.folder) == (123456789, tmp_path / "checkpoints" / "step-123456789")
    assert found.sentence == f"resuming from step 123456789: newest sealed checkpoint in {tmp_path}/checkpoints"


def test_broken_ones_are_walked_past_and_named(sealed: Any, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    for step in (30, 40, 50, 60, 70, 80):
        sealed(step)
    shorten(sealed(90) / "adapter_model.safetensors", 3)
    flip(checkpoints / "step-00000080" / "adapter_model.safetensors")
    (checkpoints / "step-00000070" / "manifest.json").unlink()
    flip(checkpoints / "step-00000060" / "manifest.json")
    shutil.rmtree(checkpoints / "step-00000050" / "rng")
    (checkpoints / "step-00000050" / "trainer_state.json").unlink()
    (checkpoints / "step-00000040").rename(checkpoints / "step-00000045")
    found = find_newest([checkpoints])
    assert found is not None
    assert found.step == 30
    assert [problem.code for problem in found.skipped] == [
        "wrong-size",
        "wrong-checksum",
        "unsealed",
        "bad-manifest",
        "missing-file",
        "bad-manifest",
    ]
    assert found.sentence.startswith(
        f"resuming from step 30: newest sealed checkpoint in {checkpoints}; step 90 skipped: adapter_model.safetensors is 3 bytes short (found 2,097, expected 2,100); step 80 skipped:"
    )
    assert "step 50 skipped: rng/rank-0.pt is missing (and 1 more)" in found.sentence
    assert "the folder was renamed" in found.sentence
    assert [problem.place.rpartition("-")[2] for problem in found.skipped] == [
        "00000090",
        "00000080",
        "00000070",
        "00000060",
        "00000050",
        "00000045",
    ]


def test_reasons_are_told_when_nothing_is_left(sealed: Any, tmp_path: Path) -> None:
    flip(sealed(40) / "trainer_state.json")
    result = survey([tmp_path / "checkpoints"])
    assert result.found is None
    assert ["step 40 skipped" in problem.message for problem in result.skipped] == [True]
    shallow = find_newest([tmp_path / "checkpoints"], deep=False)
    assert shallow is not None


def test_an_extra_file_is_a_warning(sealed: Any, tmp_path: Path) -> None:
    (sealed(40) / ".nfs0001").touch()
    found = find_newest([tmp_path / "checkpoints"])
    assert found is not None
    assert [problem.code for problem in found.warnings] == ["extra-file"]


def test_unfinished_work_and_strangers_are_not_looked_at(sealed: Any, tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(sealed(40), checkpoints / ".staging-x-1-1-aa")
    shutil.copytree(checkpoints / "step-00000040", checkpoints / "step-50")
    shutil.copytree(checkpoints / "step-00000040", checkpoints / "checkpoint-60")
    result = survey([checkpoints])
    assert result.found is not None
    assert (result.found.step, result.skipped) == (40, ())


def test_a_newer_version_is_not_walked_past(sealed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(40)
    monkeypatch.setattr("runtime.checkpoint.manifest.FORMAT_VERSION", 0)
    with pytest.raises(UserError, match="upgrade"):
        find_newest([tmp_path / "checkpoints"])


@pytest.mark.parametrize("what", ["manifest.json", "adapter_model.safetensors", "."])
def test_no_permission_is_not_damage(sealed: Any, tmp_path: Path, what: str, as_nobody: Any) -> None:
    sealed(30)
    locked = sealed(40) / what
    locked.chmod(0)
    codes = as_nobody(lambda: find_newest([tmp_path / "checkpoints"]))
    assert codes == "no-permission"


def test_a_bad_medium_is_damage(sealed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(30)
    sealed(40)

    def refuse(folder: Path, names: Any, **options: Any) -> Any:
        if folder.name.endswith("40"):
            raise OSError(errno.EIO, "Input/output error", str(folder / "optimizer.pt"))
        return digest_files(folder, names, **options)

    monkeypatch.setattr("runtime.checkpoint.manifest.digest_files", refuse)
    found = find_newest([tmp_path / "checkpoints"])
    assert found is not None
    assert (found.step, [problem.code for problem in found.skipped]) == (30, ["unreadable-file"])


def test_another_config_is_said_or_refused(sealed: Any, tmp_path: Path) -> None:
    sealed(40, config_hash="a" * 64)
    places = [tmp_path / "checkpoints"]
    for hash_, policy, warned in (
        ("a" * 64, "refuse", []),
        ("b" * 64, "warn", ["config-changed"]),
        ("b" * 64, "ignore", []),
        (None, "refuse", []),
    ):
        found = find_newest(places, config_hash=hash_, on_mismatch=policy)  # type: ignore[arg-type]
        assert found is not None
        assert [problem.code for problem in found.warnings] == warned
    with pytest.raises(UserError, match="another config") as caught:
        find_newest(places, config_hash="b" * 64, on_mismatch="refuse")
    assert caught.value.problems[0].code == "config-changed"


def test_local_wins_over_the_store_and_the_store_over_an_older_local_one(sealed: Any, tmp_path: Path, place: RunStore) -> None:
    checkpoints = tmp_path / "checkpoints"
    seal_in_store(place, sealed(40), writer="1-aaaa")
    found = find_newest([checkpoints, place])
    assert found is not None
    assert found.folder == checkpoints / "step-00000040"
    flip(checkpoints / "step-00000040" / "trainer_state.json")
    found = find_newest([checkpoints, place])
    assert found is not None
    assert (found.step, found.folder, found.place) == (40, None, place)
    assert f"step 40 in {checkpoints} skipped" in found.sentence


@pytest.mark.parametrize("damage", ["flip", "shorten", "unlink"])
def test_damage_in_the_store_is_walked_past(sealed: Any, tmp_path: Path, place: RunStore, damage: str) -> None:
    for step in (30, 40):
        seal_in_store(place, sealed(step), writer="1-aaaa")
    victim = stored_file(place, 40, "adapter_model.safetensors")
    {"flip": flip, "shorten": lambda path: shorten(path, 1), "unlink": Path.unlink}[damage](victim)
    code = {"flip": "wrong-checksum", "shorten": "wrong-size", "unlink": "missing-file"}[damage]
    found = find_newest([place])
    assert found is not None
    assert (found.step, [problem.code for problem in found.skipped]) == (30, [code])
    empty = tmp_path / "new machine" / "checkpoints"
    result = restore_newest([empty, place], empty)
    assert result.found is not None
    assert (result.found.step, [problem.code for problem in result.skipped]) == (30, [code])
    assert result.found.folder == empty / "step-00000030"
    assert place.url() in result.found.sentence
    assert [entry.name for entry in empty.iterdir()] == ["step-00000030"]


@pytest.mark.parametrize("what", ["manifest.json", "adapter_model.safetensors"])
def test_damage_on_the_way_here_is_no_reason_to_walk_past(
    sealed: Any, tmp_path: Path, place: RunStore, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    for step in (10, 20):
        seal_in_store(place, sealed(step, checkpoints=tmp_path / "gone"), writer="1-aaaa")
    spoilt: list[str] = []
    read = DirectoryStore.read

    def once_spoilt(store: DirectoryStore, key: str) -> Any:
        content = b"".join(read(store, key))
        if key.endswith(what) and key not in spoilt:
            spoilt.append(key)
            content = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        return iter([content])

    monkeypatch.setattr(DirectoryStore, "read", once_spoilt)
    found = find_newest([place])
    assert found is not None
    assert (found.step, found.skipped) == (20, ())
    assert len(spoilt) == 1


def test_an_unfinished_upload_is_walked_past(sealed: Any, place: RunStore) -> None:
    for step in (30, 40):
        seal_in_store(place, sealed(step), writer="1-aaaa")
    place.store.delete("run/checkpoints/step-00000040/manifest.json")
    found = find_newest([place])
    assert found is not None
    assert (found.step, [problem.code for problem in found.skipped]) == (30, ["unsealed"])


def test_what_was_just_brought_is_not_taken_for_news(sealed: Any, tmp_path: Path, place: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seal_in_store(place, sealed(10, checkpoints=tmp_path / "gone"), writer="1-aaaa")
    place.store.put_bytes("run/checkpoints/step-00000020/1-aaaa/a", b"half")
    here = tmp_path / "checkpoints"
    read: list[Path] = []
    monkeypatch.setattr(restore, "verify", lambda folder, manifest, **_options: read.append(folder) or ())  # type: ignore[func-returns-value]
    found = restore_newest([here, place], here).found
    assert found is not None
    assert found.folder == here / "step-00000010"
    assert f"newest sealed checkpoint in {place.url()}; step 20" in found.sentence
    assert read == []


def test_a_fetched_copy_is_a_sealed_folder_like_the_first(sealed: Any, tmp_path: Path, place: RunStore) -> None:
    original = sealed(40)
    seal_in_store(place, original, writer="1-aaaa")
    found = find_newest([place])
    assert found is not None
    into = tmp_path / "copy" / "step-00000040"
    assert fetch(found, into) == read_manifest(into) == read_manifest(original)
    assert verify(into, read_manifest(into)) == ()
    shutil.rmtree(tmp_path / "store")
    assert fetch(found, into) == read_manifest(into), "what is there already is taken as it is"


def test_a_local_checkpoint_can_be_fetched_too(sealed: Any, tmp_path: Path) -> None:
    original = sealed(40)
    found = find_newest([tmp_path / "checkpoints"])
    assert found is not None
    fetch(found, tmp_path / "copy")
    assert read_manifest(tmp_path / "copy") == read_manifest(original)


def test_a_broken_local_copy_is_replaced_by_the_stored_one(sealed: Any, tmp_path: Path, place: RunStore) -> None:
    local = sealed(40)
    seal_in_store(place, local, writer="1-aaaa")
    flip(local / "trainer_state.json")
    result = restore_newest([local.parent, place], local.parent)
    assert result.found is not None
    assert result.found.folder == local
    assert verify(local, read_manifest(local)) == ()


def test_only_who_keeps_no_source_waits_for_the_disk(sealed: Any, tmp_path: Path, place: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restored copy is read before it is trusted, and its source stays; a pulled one may be all that is left."""
    manifest = seal_in_store(place, sealed(30), writer="1-a")
    real, flushed = os.fsync, []

    def fsync(descriptor: int) -> None:
        real(descriptor)
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    names = {Path(file.path).name for file in manifest.files}
    assert restore_newest([place], tmp_path / "restored").found is not None
    assert not names & set(flushed)
    copy_sealed(place, manifest, tmp_path / "pulled" / "step-00000030")
    assert names <= set(flushed)


def test_another_checkpoint_in_the_way_is_not_overwritten(sealed: Any, tmp_path: Path, place: RunStore) -> None:
    seal_in_store(place, sealed(40), writer="1-aaaa")
    other = sealed(40, checkpoints=tmp_path / "other", files={"a": b"other"})
    found = find_newest([place])
    assert found is not None
    with pytest.raises(UserError, match="never overwritten"):
        fetch(found, other)
    assert (other / "a").read_bytes() == b"other"


def test_a_stored_manifest_cannot_write_outside(sealed: Any, tmp_path: Path, place: RunStore) -> None:
    manifest = seal_in_store(place, sealed(40), writer="1-aaaa")
    evil = manifest.files[0].model_copy(update={"path": "../../evil"})
    forged = Manifest.model_construct(**{**dict(manifest), "files": (evil,)})
    place.store.put_bytes("run/checkpoints/step-00000040/manifest.json", forged.encode())
    empty = tmp_path / "empty"
    result = restore_newest([place], empty)
    assert (result.found, [problem.code for problem in result.skipped]) == (None, ["bad-manifest"])
    assert not (tmp_path / "evil").exists()


class Unreachable(DirectoryStore):
    """A store whose listing fails `failures` times."""

    failures = 0

    def list(self, prefix: str) -> Any:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("connection reset")
        return super().list(prefix)


def test_a_store_that_does_not_answer_is_no_fresh_start(sealed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_WAIT", wait_none())
    store = Unreachable(tmp_path / "store")
    place = RunStore(store=store, run="run")
    seal_in_store(place, sealed(40), writer="1-aaaa")
    store.failures = 3
    assert find_newest([place]) is not None
    store.failures = 99
    with pytest.raises(UserError, match="kept failing: connection reset") as caught:
        find_newest([place])
    assert caught.value.problems[0].code == "store-unreachable"


def test_a_writer_that_seals_and_drops_while_it_is_read(sealed: Any, tmp_path: Path) -> None:
    """Every checkpoint that was listed is gone when its manifest is asked for; a newer one has come instead."""
    steps = iter((20, 30, 40))

    class Moving(DirectoryStore):
        def list(self, prefix: str) -> Any:
            listed = list(super().list(prefix))
            if (step := next(steps, None)) is not None:
                place = RunStore(store=DirectoryStore(self.root), run="run")
                seal_in_store(place, sealed(step), writer="1-aaaa")
                prune_stored(place, Keep(last=1), attempt=1)
            return iter(listed)

    seal_in_store(RunStore(store=DirectoryStore(tmp_path / "store"), run="run"), sealed(10), writer="1-aaaa")
    found = find_newest([RunStore(store=Moving(tmp_path / "store"), run="run")])
    assert found is not None
    assert found.step == 40
    assert found.skipped == ()
