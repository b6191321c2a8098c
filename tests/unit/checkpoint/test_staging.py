"""Leftovers of dead writers go; the work of living ones stays."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from runtime.checkpoint.owner import Owner, owner_of, this_owner, work_name
from runtime.checkpoint.sealing import new_staging
from runtime.checkpoint.staging import drop_staging, sweep_staging
from runtime.checkpoint.tree import STAGING_PREFIX, TRASH_PREFIX


def dead_child(parent: Path) -> Path:
    """The staging folder of a process that was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(new_staging(parent)).encode())
        time.sleep(60)
    staging = Path(os.read(reader, 4096).decode())
    assert sweep_staging(parent) == ()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
    return staging


def test_a_dead_writers_folder_goes_and_ours_stays(tmp_path: Path) -> None:
    ours = new_staging(tmp_path)
    theirs = dead_child(tmp_path)
    (theirs / "half").write_text("x")
    sealed = tmp_path / "step-00000040"
    sealed.mkdir()
    assert sweep_staging(tmp_path) == (theirs,)
    assert set(tmp_path.iterdir()) == {ours, sealed}


def test_a_killed_but_not_yet_reaped_writer_is_dead(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        new_staging(tmp_path)
        os._exit(0)
    deadline = time.monotonic() + 20
    while not sweep_staging(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.waitpid(child, 0)


def test_trash_of_a_dead_writer_goes_too(tmp_path: Path) -> None:
    staging = dead_child(tmp_path)
    trash = staging.rename(tmp_path / staging.name.replace(STAGING_PREFIX, TRASH_PREFIX))
    assert sweep_staging(tmp_path) == (trash,)


def test_another_machines_folder_goes_when_it_has_been_silent(tmp_path: Path) -> None:
    there = tmp_path / f"{STAGING_PREFIX}{Owner(host='otherhost0', pid=1, started=5)}-abcd"
    (there / "rng").mkdir(parents=True)
    (there / "rng" / "0").touch()
    now = time.time()
    for path in (there, there / "rng"):
        os.utime(path, (now - 9000, now - 9000))
    assert sweep_staging(tmp_path, now=now, silent_s=3600) == ()
    os.utime(there / "rng" / "0", (now - 9000, now - 9000))
    assert sweep_staging(tmp_path, now=now, silent_s=3600) == (there,)


def test_a_reused_process_id_is_another_process() -> None:
    me = this_owner()
    assert me.life() == "alive"
    assert Owner(host=me.host, pid=me.pid, started=me.started + 1).life() == "dead"
    assert Owner(host="otherhost0", pid=me.pid, started=me.started).life() == "elsewhere"


@pytest.mark.parametrize("name", ["step-00000040", ".staging-", ".staging-mine", ".staging-a-b-c-d", ".staging-x-1-2-3-4", ".trash"])
def test_names_of_others_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert owner_of(name, STAGING_PREFIX) is None
    assert sweep_staging(tmp_path) == ()


def test_a_work_name_says_who_made_it() -> None:
    assert owner_of(work_name(STAGING_PREFIX), STAGING_PREFIX) == this_owner()
    assert work_name("x") != work_name("x")


def test_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep_staging(tmp_path / "missing") == ()


def test_drop_staging_removes_staging_only(tmp_path: Path) -> None:
    precious = tmp_path / "step-00000040"
    precious.mkdir()
    drop_staging(precious)
    assert precious.exists()
