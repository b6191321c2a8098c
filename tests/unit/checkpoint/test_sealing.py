"""What seal promises: order on the disk, no overwriting, and a clear word when the disk refuses."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.sealing import new_staging, open_staging, seal
from runtime.config.problem import ExitCode, UserError


def stage(checkpoints: Path, files: dict[str, bytes]) -> Path:
    staging = new_staging(checkpoints)
    for name, content in files.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    return staging


def seal_40(staging: Path, final: Path) -> None:
    seal(staging, final, step=40, config_hash="abc", world_size=2, attempt=3, run="brave-owl", extra={"eval_loss": 1.5}, created=7.0)


def test_a_sealed_folder_says_what_it_is(tmp_path: Path) -> None:
    final = tmp_path / "checkpoints" / "step-00000040"
    staging = stage(final.parent, {"a": b"x" * 10, "rng/0": b""})
    (staging / "empty").mkdir()
    seal_40(staging, final)
    manifest = read_manifest(final)
    assert (manifest.step, manifest.world_size, manifest.attempt, manifest.run, manifest.kind) == (40, 2, 3, "brave-owl", "checkpoint")
    assert manifest.extra == {"eval_loss": 1.5}
    assert [(file.path, file.size) for file in manifest.files] == [("a", 10), ("rng/0", 0)]
    assert manifest.total_bytes == 10
    assert not staging.exists()
    assert verify(final, manifest) == ()


def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = tmp_path / "checkpoints" / "step-00000040"
    staging = stage(final.parent, {"a": b"x", "rng/deep/0": b"y", "rng/1": b"z"})
    log: list[tuple[str, str]] = []
    real_fsync, real_rename, real_replace = os.fsync, os.rename, os.replace

    def name_of(path: Any) -> str:
        return os.path.relpath(path, final.parent).replace(staging.name, "staging")

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        log.append(("fsync", name_of(Path(f"/proc/self/fd/{descriptor}").readlink())))

    def rename(source: Any, target: Any) -> None:
        log.append(("rename", f"{name_of(source)} {name_of(target)}"))
        real_rename(source, target)

    def replace(source: Any, target: Any) -> None:
        log.append(("rename", f"{name_of(source)} {name_of(target)}"))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "replace", replace)
    seal_40(staging, final)

    inside = {("fsync", f"staging/{name}") for name in ("a", "rng/deep/0", "rng/1", "rng/deep", "rng")}
    partial, manifest = "staging/.manifest.json.partial", "staging/manifest.json"
    assert set(log[:5]) == inside
    assert log[5:] == [
        ("fsync", partial),
        ("rename", f"{partial} {manifest}"),
        ("fsync", "staging"),
        ("rename", "staging step-00000040"),
        ("fsync", "."),
    ]


def test_a_sealed_checkpoint_is_never_overwritten(sealed: Any, tmp_path: Path) -> None:
    final = sealed(40)
    before = read_manifest(final)
    staging = stage(final.parent, {"other": b"content"})
    with pytest.raises(UserError, match="never overwritten") as caught:
        seal_40(staging, final)
    assert caught.value.problems[0].code == "already-sealed"
    assert read_manifest(final) == before
    assert verify(final, before) == ()
    assert not staging.exists()


def test_a_checkpoint_of_a_newer_format_is_not_taken_for_broken(sealed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    final = sealed(40)
    staging = stage(final.parent, {"other": b"content"})
    monkeypatch.setattr("runtime.checkpoint.manifest.FORMAT_VERSION", 0)
    with pytest.raises(UserError, match="never overwritten"):
        seal_40(staging, final)
    assert (final / "trainer_state.json").exists()


def test_a_broken_checkpoint_gives_way(sealed: Any) -> None:
    final = sealed(40)
    (final / "trainer_state.json").write_bytes(b"")
    seal_40(stage(final.parent, {"other": b"content"}), final)
    assert [file.path for file in read_manifest(final).files] == ["other"]
    assert [entry.name for entry in final.parent.iterdir()] == [final.name]


def test_files_that_were_never_sealed_are_set_aside_and_kept(tmp_path: Path) -> None:
    final = tmp_path / "step-00000040"
    final.mkdir()
    (final / "precious").write_text("mine")
    seal_40(stage(tmp_path, {"a": b"x"}), final)
    aside = [entry for entry in tmp_path.iterdir() if entry != final]
    assert [entry.name.startswith("step-00000040.set-aside-") for entry in aside] == [True]
    assert (aside[0] / "precious").read_text() == "mine"
    assert verify(final, read_manifest(final)) == ()


def test_one_of_two_writers_wins(tmp_path: Path) -> None:
    final = tmp_path / "step-00000040"
    stagings = [stage(tmp_path, {"who": str(writer).encode() * 100_000}) for writer in range(4)]
    outcomes: list[str] = []
    gate = threading.Barrier(4)

    def write(staging: Path) -> None:
        gate.wait()
        try:
            seal_40(staging, final)
            outcomes.append("sealed")
        except UserError as error:
            outcomes.append(error.problems[0].code)

    threads = [threading.Thread(target=write, args=(staging,)) for staging in stagings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("sealed") == 1, outcomes
    assert verify(final, read_manifest(final)) == ()
    assert [entry.name for entry in tmp_path.iterdir()] == [final.name]


def test_links_are_refused_by_name(tmp_path: Path) -> None:
    staging = stage(tmp_path, {"a": b"x"})
    (staging / "link").symlink_to("/etc/hostname")
    (staging / "back\\slash").touch()
    with pytest.raises(UserError) as caught:
        seal_40(staging, tmp_path / "step-00000040")
    assert [(problem.code, problem.message.split()[0]) for problem in caught.value.problems] == [
        ("unsupported-file", "'link'"),
        ("unsupported-file", "'back\\\\slash'"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_only_a_staging_folder_is_cleaned_up_after_a_failure(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "link").symlink_to("/etc/hostname")
    with pytest.raises(UserError):
        seal_40(mine, tmp_path / "step-00000040")
    assert (mine / "link").is_symlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_while_the_checkpoint_is_written(sealed: Any, small_disk: Path) -> None:
    earlier = sealed(30, checkpoints=small_disk)

    def save() -> None:
        with open_staging(small_disk) as staging:
            for index in range(100):
                (staging / f"shard-{index}").write_bytes(b"x" * 100_000)

    with pytest.raises(UserError, match="disk is full") as caught:
        save()
    problem = caught.value.problems[0]
    assert (problem.code, problem.place, caught.value.exit_code) == ("disk-full", str(small_disk), ExitCode.TRAINING_FAILED)
    assert "free space" in problem.fix
    assert [entry.name for entry in small_disk.iterdir()] == [earlier.name]
    assert verify(earlier, read_manifest(earlier)) == ()


def test_a_full_disk_behind_a_library_that_hides_it(small_disk: Path) -> None:
    def save() -> None:
        with open_staging(small_disk) as staging:
            try:
                (staging / "optimizer.pt").write_bytes(b"x" * 2_000_000)
            except OSError:
                raise RuntimeError("unexpected pos 64 vs 0") from None

    with pytest.raises(UserError, match="disk is full"):
        save()
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_when_only_the_manifest_is_left(sealed: Any, small_disk: Path) -> None:
    earlier = sealed(30, checkpoints=small_disk)
    staging = stage(small_disk, {"a": b"x"})
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    with pytest.raises(UserError, match="disk is full"):
        seal_40(staging, small_disk / "step-00000040")
    assert {entry.name for entry in small_disk.iterdir()} == {earlier.name, "filler"}


def test_too_little_room_is_said_before_anything_is_written(small_disk: Path) -> None:
    with pytest.raises(UserError, match=r"1\.0 MiB free, 5\.0 GiB needed"), open_staging(small_disk, needed_bytes=5 << 30):
        pytest.fail("nothing may be written")
    assert list(small_disk.iterdir()) == []


def test_a_read_only_disk(sealed: Any, small_disk: Path) -> None:
    earlier = sealed(30, checkpoints=small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="read-only") as caught:
        new_staging(small_disk)
    assert (caught.value.problems[0].code, caught.value.exit_code) == ("read-only", ExitCode.INVALID)
    assert verify(earlier, read_manifest(earlier)) == ()


def test_a_limit_on_file_size_is_a_full_disk_too(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(UserError, match="disk is full"), open_staging(tmp_path) as staging:
            (staging / "a").write_bytes(b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_no_permission(tmp_path: Path, as_nobody: Any) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    assert as_nobody(lambda: new_staging(locked / "checkpoints")) == "no-permission"


def test_a_checkpoint_that_cannot_be_read_does_not_give_way(sealed: Any, as_nobody: Any) -> None:
    final = sealed(40)
    final.parent.chmod(0o777)
    (final / "manifest.json").chmod(0)
    assert as_nobody(lambda: seal_40(stage(final.parent, {"other": b"content"}), final)) == "no-permission"
    assert verify(final, read_manifest(final)) == ()


def test_what_is_not_the_disks_fault_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_staging(tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
