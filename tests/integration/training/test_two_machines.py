"""Two machines that share no disk: what they hold of a checkpoint is sealed as one in the store, or not at all, and both go on from it.

`LONG_TESTS=1` has torchrun start them too, one of them die in the middle of an upload, and a sharded state.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from machines import DEADLINE_S, Machines, free_port

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.manifest import Manifest, read_manifest
from runtime.checkpoint.restore import survey
from runtime.checkpoint.stored import RunStore
from runtime.events import read_events
from tests.integration.training.conftest import LORA

pytestmark = [pytest.mark.train, pytest.mark.slow]

long_only = pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="a minute each; LONG_TESTS=1")
# Dropout: each process draws from a random state of its own, which only its own machine writes.
SHORT: dict[str, Any] = {
    **LORA,
    "output_dir": "out",
    "micro_batch_size": 4,
    "max_steps": 10,
    "save_steps": 2,
    "save_total_limit": 2,
    "val_set_size": 0,
    "eval_steps": None,
    "logging_steps": 1,
    "auto_resume_from_checkpoints": True,
}


@pytest.fixture
def two(recipe: Callable[..., Path], tmp_path: Path) -> Path:
    return recipe("two", **SHORT, launch={"storage": str(tmp_path / "store"), "name": "two"})


def folders(where: Path) -> list[Path]:
    return [where / "first", where / "second"]


def stored(tmp_path: Path, run: str = "two") -> Manifest | None:
    """The newest checkpoint in the store, every byte of it read. Nothing newer claims to be one and is not."""
    seen = survey([RunStore(store=DirectoryStore(tmp_path / "store"), run=run)])
    assert [problem.code for problem in seen.skipped if problem.code != "unsealed"] == []
    return seen.found.manifest if seen.found is not None else None


def weights(machines: Machines) -> dict[str, str]:
    final = read_manifest(machines.folders[0] / "out" / "final")
    return {file.path: file.checksum for file in final.files if file.path.endswith(".safetensors")}


def losses(machines: Machines) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in machines.events("loss")}


def test_both_lose_their_disks_and_nothing_else(two: Path, tmp_path: Path) -> None:
    # On one disk, without a storage, all is as on one machine.
    calm = Machines([tmp_path / "calm"] * 2, two, "launch.storage=null", "max_steps=6")
    assert calm.end() == [0, 0], calm.log
    here = read_manifest(tmp_path / "calm" / "out" / "checkpoints" / "step-00000006")
    assert {"rng_state_0.pth", "rng_state_1.pth", "optimizer.pt", "trainer_state.json"} <= {file.path for file in here.files}

    stormy = Machines(folders(tmp_path / "stormy"), two, "max_steps=6")
    stormy.wait(lambda: bool(stormy.events("checkpoint")))
    stormy.kill()
    before = losses(stormy)
    sealed = stored(tmp_path)
    assert sealed is not None
    for folder in stormy.folders:
        shutil.rmtree(folder)
    resumed = Machines(stormy.folders, two, "max_steps=6")
    assert resumed.end() == [0, 0], resumed.log
    assert resumed.events("resumed")[0]["from_step"] == sealed.step
    assert losses(resumed).items() >= {step: loss for step, loss in before.items() if step > sealed.step}.items()
    assert weights(resumed) == weights(calm)

    whole = stored(tmp_path)
    assert whole is not None
    assert (whole.kind, whole.step, whole.world_size, whole.extra) == ("checkpoint", 6, 2, {"machines": 2})
    assert {file.path for file in whole.files} == {file.path for file in here.files}
    assert [step for folder in resumed.folders for step in (folder / "out" / "checkpoints").glob("step-*")] == []
    for folder in resumed.folders:
        assert "step-00000006" in {path.name for path in (folder / "out" / "portions").glob("step-*")}


def test_without_a_storage_they_are_refused_before_training(recipe: Callable[..., Path], tmp_path: Path) -> None:
    apart = Machines(folders(tmp_path / "apart"), recipe("none", **SHORT))
    assert apart.end() == [2, 2], apart.log
    assert "set launch.storage" in apart.log
    assert not apart.events("prepared")


@long_only
@pytest.mark.parametrize("victim", [0, 1])
def test_one_dies_in_the_middle_of_an_upload(two: Path, tmp_path: Path, victim: int) -> None:
    """The other's collectives fail, it gives what is unsent a little time, and ends; then both go on, on the disks that are left."""
    calm = Machines(folders(tmp_path / "calm"), two, "launch.name=calm")
    assert calm.end() == [0, 0], calm.log
    slow = Machines(folders(tmp_path / "slow"), two, "launch.upload_mb_per_s=0.05")
    slow.wait(lambda: len(slow.events("loss")) >= 5)
    slow.kill(victim)
    slow.end()
    before = stored(tmp_path)
    shutil.rmtree(slow.folders[victim])
    resumed = Machines(slow.folders, two)
    assert resumed.end() == [0, 0], resumed.log
    assert [event["from_step"] for event in resumed.events("resumed")] == ([before.step] if before is not None else [])
    assert weights(resumed) == weights(calm)


@long_only
def test_a_sharded_state_on_two_machines(recipe: Callable[..., Path], tmp_path: Path) -> None:
    whole = SHORT | dict.fromkeys(LORA) | {"fsdp_version": 2, "fsdp_config": {"reshard_after_forward": True}}
    path = recipe("sharded", **whole, launch={"storage": str(tmp_path / "store"), "name": "two"})
    calm = Machines(folders(tmp_path / "calm"), path, "launch.name=calm")
    assert calm.end() == [0, 0], calm.log
    stormy = Machines(folders(tmp_path / "stormy"), path)
    stormy.wait(lambda: bool(stormy.events("checkpoint")))
    stormy.kill()
    assert stored(tmp_path) is not None
    # Neither has the other's shards, and one has lost its own.
    shutil.rmtree(stormy.folders[1])
    resumed = Machines(stormy.folders, path)
    assert resumed.end() == [0, 0], resumed.log
    assert resumed.events("resumed")
    assert weights(resumed) == weights(calm)


@long_only
def test_a_stop_is_sealed_in_the_store_and_gone_on_from(two: Path, tmp_path: Path) -> None:
    calm = Machines(folders(tmp_path / "calm"), two, "launch.name=calm")
    assert calm.end() == [0, 0], calm.log
    stopped = Machines(folders(tmp_path / "stopped"), two, "save_steps=100")
    stopped.wait(lambda: len(stopped.events("loss")) >= 3)
    os.kill(stopped.processes[1].pid or 0, signal.SIGTERM)
    assert stopped.end() == [6, 6], stopped.log
    sealed = stored(tmp_path)
    assert sealed is not None
    resumed = Machines(stopped.folders, two)
    assert resumed.end() == [0, 0], resumed.log
    assert resumed.events("resumed")[0]["from_step"] == sealed.step
    assert weights(resumed) == weights(calm)


@long_only
def test_the_best_model_is_brought_together(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """It is of an early step, whose portions the store was not sent in time, or has dropped since; on one disk it is simply there."""
    best = {
        "val_set_size": 0.1,
        "eval_steps": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "loss",
        "greater_is_better": True,
        "save_total_limit": 1,
    }
    path = recipe("best", **SHORT | best, launch={"storage": str(tmp_path / "store"), "name": "two"})
    shared = Machines([tmp_path / "shared"] * 2, path, "launch.name=shared")
    assert shared.end() == [0, 0], shared.log
    assert "evaluated best and becomes the final one" in shared.log
    apart = Machines(folders(tmp_path / "apart"), path, "launch.upload_mb_per_s=0.2")
    assert apart.end() == [0, 0], apart.log
    assert "evaluated best and becomes the final one" in apart.log
    assert weights(apart) == weights(shared)


@long_only
def test_as_torchrun_starts_them(two: Path, tmp_path: Path) -> None:
    """One agent dies, and with it its machine's process; the other's ends by itself, and nothing is half sealed."""
    calm = Machines(folders(tmp_path / "calm"), two, "launch.name=calm")
    assert calm.end() == [0, 0], calm.log
    places = folders(tmp_path / "real")
    doomed = agents(places, two, "launch.upload_mb_per_s=0.1")
    wait_for(lambda: "step 4/" in (places[0] / "log").read_text(), doomed)
    end_session(doomed[1])
    assert doomed[0].wait(DEADLINE_S) != 0
    before = stored(tmp_path)
    shutil.rmtree(places[1])
    resumed = agents(places, two)
    assert [agent.wait(DEADLINE_S) for agent in resumed] == [0, 0], (places[0] / "log").read_text()
    again = [event for event in read_events(places[0] / "out" / "events.jsonl") if event["kind"] == "resumed"]
    assert [event["from_step"] for event in again] == ([before.step] if before is not None else [])
    final = read_manifest(places[0] / "out" / "final")
    assert {file.path: file.checksum for file in final.files if file.path.endswith(".safetensors")} == weights(calm)


def agents(places: list[Path], recipe: Path, *overrides: str) -> list[subprocess.Popen[bytes]]:
    """`python -m runtime train` on each machine, which starts torchrun."""
    head = f"127.0.0.1:{free_port()}"
    started = []
    for index, folder in enumerate(places):
        folder.mkdir(parents=True, exist_ok=True)
        place = {"LAUNCHER_NODES": str(len(places)), "LAUNCHER_NODE_RANK": str(index), "LAUNCHER_HEAD": head, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "runtime", "train", str(recipe), *(word for item in overrides for word in ("--set", item))]
        with (folder / "log").open("a") as log:
            started.append(
                subprocess.Popen(command, cwd=folder, env={**os.environ, **place}, stdout=log, stderr=log, start_new_session=True)
            )
    return started


def wait_for(happened: Callable[[], bool], started: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not happened():
        assert time.monotonic() < until
        assert all(agent.poll() is None for agent in started)
        time.sleep(0.05)


def end_session(agent: subprocess.Popen[bytes]) -> None:
    """All of a machine's processes end at once; torchrun's agent is a session of its own below."""
    doomed = [psutil.Process(agent.pid), *psutil.Process(agent.pid).children(recursive=True)]
    for process in doomed:
        process.kill()
    psutil.wait_procs(doomed, timeout=30)
