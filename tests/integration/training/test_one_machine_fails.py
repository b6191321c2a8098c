"""One machine of several fails alone: all end alike, soon and without a traceback, or lose a checkpoint and train on.

All but the shortest with `LONG_TESTS=1`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from apart import Apart, long_only

pytestmark = [pytest.mark.train, pytest.mark.slow]


@pytest.fixture
def apart(recipe: Callable[..., Path], tmp_path: Path) -> Apart:
    return Apart(str(tmp_path / "store"), recipe, tmp_path)


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    place.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_folder_that_cannot_be_used_ends_all_for_that_reason(apart: Apart, victim: int) -> None:
    disks = apart.disks("refused")
    disks[victim].mkdir(parents=True)
    (disks[victim] / "out").write_text("a file")
    refused = apart.machines(disks)
    assert refused.end() == [2, 2], refused.log
    for index in range(2):
        assert "output_dir is a file, or lies under one" in refused.log_of(index)
    assert "Traceback" not in refused.log


@long_only
@pytest.mark.parametrize("victim", [0, 1])
def test_a_disk_that_fails_in_the_middle_ends_all_for_that_reason(apart: Apart, victim: int) -> None:
    failing = apart.agents(apart.disks("failing"))
    failing.wait(lambda: bool(failing.events("checkpoint")))
    portions = failing.folders[victim] / "out" / "portions"
    shutil.rmtree(portions, ignore_errors=True)
    portions.rename(portions.with_name("gone")) if portions.exists() else None
    portions.write_text("a file")
    assert failing.end() == [2, 2] or failing.end() == [5, 5], failing.log
    for index in range(2):
        assert str(portions) in failing.log_of(index).replace("out/portions", str(portions)), failing.log
    assert "Traceback" not in failing.log


@long_only
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("sharded", [False, True])
def test_a_full_disk_of_one_machine_costs_checkpoints_and_not_the_training(apart: Apart, victim: int, sharded: bool) -> None:
    values = {"fsdp_version": 2, "fsdp_config": {"reshard_after_forward": True}} if sharded else {}
    calm = apart.calm(**values)
    disks = apart.disks("full")
    with small_disk(disks[victim] / "out", "24m"):
        machines = apart.machines(disks, **values)
        machines.wait(lambda: bool(machines.events("checkpoint")))
        filler = disks[victim] / "out" / "filler"
        with filler.open("wb") as stream:
            try:
                while True:
                    os.write(stream.fileno(), b"\0" * 4096)
            except OSError:
                pass
        machines.wait(lambda: "no checkpoint was sealed: the disk is full" in machines.log_of(0))
        filler.unlink()
        assert machines.end() == [0, 0], machines.log
        assert machines.weights() == calm
        assert "Traceback" not in machines.log
        newest = apart.newest()
        assert newest is not None
        assert newest.step == 10


@long_only
@pytest.mark.parametrize("victim", [0, 2])
def test_of_three_machines_one_is_lost(apart: Apart, victim: int) -> None:
    lost = apart.agents(apart.disks("three", 3))
    lost.wait(lambda: bool(lost.events("checkpoint")))
    lost.kill(victim)
    left = [index for index in range(3) if index != victim]
    statuses = lost.end()
    assert [statuses[index] for index in left] == [-signal.SIGKILL] * 2
    for index in left:
        assert "is gone without a word" in lost.log_of(index)
    assert "Traceback" not in lost.log


@long_only
def test_a_machine_that_says_nothing_is_spoken_of_and_given_up_in_time(apart: Apart) -> None:
    silent = apart.machines(apart.disks("silent", 3), "ddp_timeout=20")
    silent.wait(lambda: bool(silent.events("checkpoint")))
    os.kill(silent.processes[2].pid or 0, signal.SIGSTOP)
    try:
        silent.processes[0].join(90)
        silent.processes[1].join(10)
        assert [process.exitcode for process in silent.processes[:2]] == [5, 5], silent.log
    finally:
        silent.kill(2)
    assert "nothing is heard of machine 3 of 3; it is waited for" in silent.log_of(0)
    for index in range(2):
        assert "is gone without a word" in silent.log_of(index)
    assert "Traceback" not in silent.log


@long_only
@pytest.mark.parametrize("victim", [0, 1])
def test_a_storage_that_one_machine_cannot_use_ends_all(apart: Apart, victim: int) -> None:
    """Its folder is there for one of them and not for the other."""
    disks = apart.disks("storage")
    for disk in disks:
        disk.mkdir(parents=True)
    (disks[victim] / "store").write_text("a file")
    recipe = apart.written(launch={"storage": "file:store", "name": "apart"})
    assert recipe
