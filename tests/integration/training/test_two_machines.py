"""Machines that share no disk, over a real object store: what they hold of a checkpoint is sealed as one there, or not at all, and all go on from it.

`LONG_TESTS=1` has torchrun start them too, kills them in every way, and brings back old disks and other numbers of machines.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apart import SHORT, Apart, long_only
from machines import Machines
from object_servers import ObjectServer

from runtime.checkpoint.manifest import read_manifest

pytestmark = [pytest.mark.train, pytest.mark.slow]


@pytest.fixture
def apart(
    request: pytest.FixtureRequest,
    recipe: Callable[..., Path],
    tmp_path: Path,
    object_server: Callable[[str], ObjectServer],
    monkeypatch: pytest.MonkeyPatch,
) -> Apart:
    kind = getattr(request, "param", "seaweedfs")
    if kind == "directory":
        return Apart(str(tmp_path / "store"), recipe, tmp_path)
    server = object_server(kind)
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return Apart(f"{server.address}/{tmp_path.name}", recipe, tmp_path, server.variables)


def went_on_from(machines: Any) -> list[int]:
    return [event["from_step"] for event in machines.events("resumed")]


def test_both_lose_their_disks_and_nothing_else(apart: Apart) -> None:
    calm = apart.calm(max_steps=6)
    here = read_manifest(apart.root / "calm" / "out" / "checkpoints" / "step-00000006")
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt", "trainer_state.json"} <= {file.path for file in here.files}

    stormy = apart.machines(apart.disks("stormy"), max_steps=6)
    stormy.wait(lambda: bool(stormy.events("checkpoint")))
    stormy.kill()
    before = stormy.losses()
    sealed = apart.newest()
    assert sealed is not None
    for folder in stormy.folders:
        shutil.rmtree(folder)
    resumed = apart.machines(stormy.folders, max_steps=6)
    assert resumed.end() == [0, 0], resumed.log
    assert went_on_from(resumed) == [sealed.step]
    assert resumed.losses().items() >= {step: loss for step, loss in before.items() if step > sealed.step}.items()
    assert resumed.weights() == calm

    whole = apart.newest()
    assert whole is not None
    assert (whole.kind, whole.step, whole.world_size, whole.extra) == ("checkpoint", 6, 2, {"machines": 2})
    assert {file.path for file in whole.files} == {file.path for file in here.files}
    assert [step for folder in resumed.folders for step in (folder / "out" / "checkpoints").glob("step-*")] == []
    for folder in resumed.folders:
        assert "step-00000006" in {path.name for path in (folder / "out" / "portions").glob("step-*")}


def test_without_a_storage_they_are_refused_before_training(recipe: Callable[..., Path], tmp_path: Path) -> None:
    refused = Machines([tmp_path / "first", tmp_path / "second"], recipe("none", **SHORT))
    assert refused.end() == [2, 2], refused.log
    assert "set launch.storage" in refused.log
    assert not refused.events("prepared")


@pytest.mark.parametrize("apart", ["directory"], indirect=True)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_folder_that_one_of_them_cannot_use_ends_both_for_that_reason(apart: Apart, victim: int) -> None:
    disks = apart.disks("refused")
    disks[victim].mkdir(parents=True)
    (disks[victim] / "out").write_text("a file")
    refused = apart.machines(disks)
    assert refused.end() == [2, 2], refused.log
    for index in range(2):
        assert "output_dir is a file, or lies under one" in refused.log_of(index)
    assert "Traceback" not in refused.log


@long_only
@pytest.mark.parametrize("apart", ["seaweedfs", "juicefs"], indirect=True)
@pytest.mark.parametrize("victims", [(0,), (1,), (0, 1)])
def test_they_die_in_the_middle_of_an_upload(apart: Apart, victims: tuple[int, ...]) -> None:
    """The other's collectives fail, it gives what is unsent a little time, and ends; then both go on, on the disks that are left."""
    calm = apart.calm()
    slow = apart.machines(apart.disks("slow"), "launch.upload_mb_per_s=0.1")
    slow.wait(lambda: bool(slow.events("checkpoint")) and len(slow.events("loss")) >= 7)
    slow.kill(*victims)
    slow.end()
    assert "Traceback" not in slow.log
    before = apart.newest()
    assert before is not None
    for victim in victims:
        shutil.rmtree(slow.folders[victim])
    resumed = apart.machines(slow.folders)
    assert resumed.end() == [0, 0], resumed.log
    assert went_on_from(resumed)[-1:] == [before.step]
    assert resumed.weights() == calm


@long_only
@pytest.mark.parametrize("victim", [0, 1])
def test_as_torchrun_starts_them(apart: Apart, victim: int) -> None:
    """One agent dies, and with it its machine's process; the other's ends by itself, and nothing is half sealed."""
    calm = apart.calm()
    doomed = apart.agents(apart.disks("real"), "launch.upload_mb_per_s=0.2")
    doomed.wait(lambda: bool(doomed.events("checkpoint")))
    doomed.kill(victim)
    assert doomed.end()[1 - victim] == -signal.SIGKILL, "its supervisor is to see a death, and no failure of the training"
    assert "is gone without a word" in doomed.log_of(1 - victim)
    assert "Traceback" not in doomed.log
    before = apart.newest()
    assert before is not None
    shutil.rmtree(doomed.folders[victim])
    resumed = apart.agents(doomed.folders)
    assert resumed.end() == [0, 0], resumed.log
    assert went_on_from(resumed) == [before.step]
    assert resumed.weights() == calm


@long_only
def test_a_sharded_state_on_two_machines(apart: Apart) -> None:
    whole: dict[str, Any] = {name: None for name in SHORT if name.startswith(("lora", "adapter"))}
    whole |= {"fsdp_version": 2, "fsdp_config": {"reshard_after_forward": True}}
    calm = apart.calm(**whole)
    stormy = apart.machines(apart.disks("stormy"), **whole)
    stormy.wait(lambda: bool(stormy.events("checkpoint")))
    stormy.kill()
    assert apart.newest() is not None
    # Neither has the other's shards, and one has lost its own.
    shutil.rmtree(stormy.folders[1])
    resumed = apart.machines(stormy.folders, **whole)
    assert resumed.end() == [0, 0], resumed.log
    assert resumed.events("resumed")
    assert resumed.weights() == calm


@long_only
def test_a_stop_is_sealed_in_the_store_and_gone_on_from(apart: Apart) -> None:
    calm = apart.calm()
    stopped = apart.machines(apart.disks("stopped"), "save_steps=100")
    stopped.wait(lambda: len(stopped.events("loss")) >= 3)
    os.kill(stopped.processes[1].pid or 0, signal.SIGTERM)
    assert stopped.end() == [6, 6], stopped.log
    sealed = apart.newest()
    assert sealed is not None
    resumed = apart.machines(stopped.folders)
    assert resumed.end() == [0, 0], resumed.log
    assert went_on_from(resumed) == [sealed.step]
    assert resumed.weights() == calm


@long_only
def test_the_best_model_is_brought_together(apart: Apart) -> None:
    """It is of an early step, whose portions the store was not sent in time, or has dropped since; on one disk it is simply there."""
    best = {
        "val_set_size": 0.1,
        "eval_steps": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
        "greater_is_better": True,
        "save_total_limit": 1,
    }
    calm = apart.calm(**best)
    found = apart.machines(apart.disks("best"), "launch.upload_mb_per_s=0.2", **best)
    assert found.end() == [0, 0], found.log
    assert "evaluated best and becomes the final one" in found.log
    assert found.weights() == calm


@long_only
def test_the_head_moves_and_an_old_disk_comes_back(apart: Apart) -> None:
    """A disk that was away has portions of the first life, and its word and log; those of later steps have been sealed since, from other machines."""
    calm = apart.calm()
    first, second = apart.disks("moving")
    life = apart.machines([first, second], "launch.upload_mb_per_s=0.1")
    life.wait(lambda: bool(life.events("checkpoint")) and len(life.events("loss")) >= 7)
    life.kill()
    away = apart.root / "away"
    shutil.copytree(first, away)
    # The second machine is the head now, and the first one is new.
    shutil.rmtree(first)
    life = apart.machines([second, first])
    life.wait(lambda: max(event["step"] for event in [*life.events("checkpoint"), {"step": 0}]) >= 8)
    life.kill()
    shutil.rmtree(first)
    before = apart.newest()
    assert before is not None
    last = apart.machines([away, second])
    assert last.end() == [0, 0], last.log
    assert went_on_from(last)[-1] == before.step
    assert last.weights() == calm


@long_only
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3), (3, 2)])
def test_another_number_of_machines_goes_on(apart: Apart, before: int, after: int) -> None:
    values = {"micro_batch_size": 6 // max(before, 1) if before != 3 else 2}
    life = apart.machines(apart.disks("life", before), **values)
    life.wait(lambda: bool(life.events("uploaded")))
    life.kill()
    sealed = apart.newest()
    assert sealed is not None
    disks = apart.disks("life", max(before, after))[:after]
    resumed = apart.machines(disks, **values)
    assert resumed.end() == [0] * after, resumed.log
    assert went_on_from(resumed) == [sealed.step]
    whole = apart.newest()
    assert whole is not None
    assert (whole.step, whole.world_size) == (10, after)
