"""One machine of several fails alone: all end alike, soon and without a traceback, or lose a checkpoint and train on.

A minute each, with `LONG_TESTS=1`; the shortest is in `test_two_machines`.
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
from apart import RUN, Apart, long_only

from runtime.checkpoint.opening import open_store
from runtime.checkpoint.stored import RunStore

pytestmark = [pytest.mark.train, pytest.mark.slow, long_only]


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
def test_a_disk_that_fails_in_the_middle_ends_all_for_that_reason(apart: Apart, victim: int) -> None:
    failing = apart.agents(apart.disks("failing"))
    failing.wait(lambda: bool(failing.events("checkpoint")))
    portions = failing.folders[victim] / "out" / "portions"
    portions.rename(portions.with_name("elsewhere"))
    portions.write_text("a file")
    first, second = failing.end()
    assert first == second
    assert first in (2, 5), failing.log
    for index in range(2):
        assert "out/portions" in failing.log_of(index), failing.log
        assert "gloo" not in failing.log_of(index)
    assert "Traceback" not in failing.log


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


@pytest.mark.parametrize("victim", [0, 1])
def test_weights_that_one_machine_does_not_have_end_all(apart: Apart, tiny: Path, victim: int) -> None:
    """It fails where the others wait for it without looking at how it fares."""
    disks = apart.disks("weightless")
    for disk in disks:
        shutil.copytree(tiny / "model", disk / "model")
    (disks[victim] / "model" / "model.safetensors").unlink()
    failing = apart.machines(disks, base_model="model")
    first, second = failing.end()
    assert first == second != 0, failing.log
    for index in range(2):
        assert "model.safetensors" in failing.log_of(index), failing.log
    assert "Traceback" not in failing.log


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


@pytest.mark.parametrize("victim", [0, 2])
def test_a_machine_that_says_nothing_is_given_up_in_time(apart: Apart, victim: int) -> None:
    silent = apart.machines(apart.disks("silent", 3), "ddp_timeout=20")
    silent.wait(lambda: bool(silent.events("checkpoint")))
    os.kill(silent.processes[victim].pid or 0, signal.SIGSTOP)
    left = [index for index in range(3) if index != victim]
    try:
        for index in left:
            silent.processes[index].join(200)
        assert [silent.processes[index].exitcode for index in left] == [5, 5], silent.log
    finally:
        silent.kill(victim)
    assert "nothing is heard of machine 3 of 3; it is waited for" in silent.log_of(0) or victim == 0
    for index in left:
        assert "is gone without a word" in silent.log_of(index)
    assert "Traceback" not in silent.log


def test_one_is_lost_while_the_last_is_sent(apart: Apart) -> None:
    """The last checkpoint lacks its part; the model is the head's, and gets to the storage."""
    calm = apart.calm()
    ending = apart.machines(apart.disks("ending"), "launch.upload_mb_per_s=0.02")
    ending.wait(lambda: bool(ending.events("trained")))
    ending.kill(1)
    assert ending.end()[0] == 0, ending.log
    assert "the last checkpoint is not in the store, as a machine that held a part of it is gone; the model is" in ending.log_of(0)
    assert ending.weights() == calm
    assert RunStore(store=open_store(apart.address), run=RUN).manifest("final").step == 10


@pytest.mark.parametrize("victim", [0, 1])
def test_a_storage_that_one_machine_cannot_use_ends_all(apart: Apart, victim: int) -> None:
    """It is there for one of them and not for the other."""
    homes = [apart.root / "home", apart.root / "no-home"]
    homes[0].mkdir()
    homes[1].write_text("a file")
    own = {index: {"HOME": str(homes[index == victim])} for index in range(2)}
    refused = apart.machines(apart.disks("storage"), own=own, launch={"storage": "~/store", "name": "apart"})
    first, second = refused.end()
    assert first == second != 0
    for index in range(2):
        assert str(homes[1]) in refused.log_of(index), refused.log
    assert "Traceback" not in refused.log
    assert not refused.events("loss")
