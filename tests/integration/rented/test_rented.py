"""Runs on rented machines from submission to end: told by the storage alone, recovered, stopped, gone on with, looked at from elsewhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.backend.node.health import health
from launcher.backend.protocol import ACTIVE
from launcher.task.envelope import SEALED
from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from tests.integration.rented.conftest import World

# Each starts several processes. The two that CI runs go through submission, the machine's part, stop, resume and a look from elsewhere.
LONG = pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="set LONG_TESTS=1")


def test_a_run_trains_elsewhere_and_its_storage_tells_it_all(world: World, tmp_path: Path) -> None:
    world.wrong(step_s=0.05)
    record = world.backend.submit(world.job())
    assert record.state == "starting"

    world.wait(lambda: world.backend.look(record.run).state not in ACTIVE)
    status = world.backend.status(record.run)
    assert status.record.state == "done", status.record.message
    assert status.progress.step == 20
    assert status.record.attempts[0].exit_status == 0
    assert status.spent is not None
    assert status.spent.usd_per_h == 10.0
    assert status.spent.where == "aws/us-east-1/us-east-1a"
    assert status.spent.usd == pytest.approx(status.spent.hours * 10.0)
    assert "fake runtime: train" in world.backend.log(record.run).new()

    elsewhere = world.another_laptop(tmp_path / "elsewhere")
    elsewhere.adopt("s3://bucket/prefix", record.run)
    assert elsewhere.status(record.run).record.state == "done"
    assert [event["kind"] for event in elsewhere.events(record.run).new()].count("trained") == 1


@LONG
def test_a_machine_taken_away_without_a_word_loses_nothing_that_was_told(world: World) -> None:
    world.wrong(step_s=0.2)
    record = world.backend.submit(world.job(steps=40))
    world.wait(lambda: world.backend.status(record.run).progress.step >= 6)
    world.cloud.take_away()
    world.cloud.recover()
    world.wrong(step_s=0.0)

    world.wait(lambda: world.backend.look(record.run).state not in ACTIVE)
    status = world.backend.status(record.run)
    assert status.record.state == "done", status.record.message
    assert [attempt.number for attempt in status.record.attempts] == [1, 2]
    assert status.spent is not None
    assert status.spent.machines == 2


@LONG
def test_a_machine_told_to_end_seals_and_asks_to_be_recovered(world: World) -> None:
    world.wrong(step_s=0.2)
    record = world.backend.submit(world.job(steps=200))
    world.wait(lambda: world.backend.status(record.run).progress.step >= 3)
    world.cloud.take_away(signal.SIGTERM)
    assert world.cloud.lives[-1].returncode == 75
    world.wait(lambda: world.backend.look(record.run).state == "recovering")


def test_stop_reaches_the_machine_through_the_storage_and_resume_goes_on_from_anywhere(world: World, tmp_path: Path) -> None:
    world.wrong(step_s=0.2)
    record = world.backend.submit(world.job(steps=60))
    world.wait(lambda: world.backend.status(record.run).progress.step >= 2)
    world.backend.stop(record.run)

    world.wait(lambda: world.backend.look(record.run).state not in ACTIVE)
    stopped = world.backend.look(record.run)
    assert (stopped.state, stopped.exit_code) == ("stopped", 6)
    assert not world.cloud.cancelled
    world.cloud.lives[-1].wait(20)

    world.wrong(step_s=0.0)
    elsewhere = world.another_laptop(tmp_path / "elsewhere")
    elsewhere.adopt("s3://bucket/prefix", record.run)
    assert elsewhere.resume(record.run).state == "starting"
    # The computer that submitted it first hears of that too.
    assert world.wait(lambda: world.backend.look(record.run).state in ACTIVE)
    world.wait(lambda: world.backend.look(record.run).state == "done")
    ids = [task["variables"]["LAUNCHER_SUBMISSION"] for task in world.cloud.submitted]
    assert len(set(ids)) == 2


@LONG
def test_the_cap_on_money_is_kept_by_the_machine(world: World) -> None:
    world.wrong(step_s=0.2)
    job = world.job(steps=500, launch="  max_cost_usd: 0.01\n")
    record = world.backend.submit(job)
    world.wait(lambda: world.backend.look(record.run).state not in ACTIVE)
    stopped = world.backend.look(record.run)
    assert stopped.state == "stopped"
    assert "max_cost_usd = 0.01" in stopped.message


@LONG
def test_a_secret_is_nowhere_on_this_side(world: World, tmp_path: Path) -> None:
    world.wrong(step_s=0.0)
    world.backend.environment = {"CANARY_TOKEN": "canary-7f3a91"}  # type: ignore[misc]
    record = world.backend.submit(world.job())
    world.wait(lambda: world.backend.look(record.run).state not in ACTIVE)
    # SkyPilot keeps what it is told; what it was told here is of no use without a key that is gone with the run.
    assert list(world.cloud.submitted[0]["values"]) == [SEALED]
    assert "canary-7f3a91" not in str(world.cloud.submitted)
    assert not list((tmp_path / "state").rglob("*.key"))
    for root in (tmp_path / "state", world.storage):
        for file in root.rglob("*"):
            assert not file.is_file() or b"canary-7f3a91" not in file.read_bytes(), file


@LONG
def test_a_second_run_of_the_same_name_is_refused_by_its_storage(world: World, tmp_path: Path) -> None:
    world.wrong(step_s=0.0)
    record = world.backend.submit(world.job())
    with pytest.raises(UserError, match="the storage has a run called"):
        world.another_laptop(tmp_path / "elsewhere").submit(world.job())
    world.wait(lambda: world.backend.look(record.run).state not in ACTIVE)


def test_a_run_that_skypilot_refuses_leaves_nothing_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        assert list((world.storage / "kind-otter-x7k" / "inputs").iterdir()), "they had been sent"
        raise UserError(Problem(code="no-server", message="nobody is there"), exit_code=ExitCode.REMOTE_REFUSED)

    monkeypatch.setattr(world.cloud, "launch_job", refuse)
    with pytest.raises(UserError, match="nobody is there"):
        world.backend.submit(world.job())
    assert not [path for path in (world.storage / "kind-otter-x7k").rglob("*") if path.is_file()]
    assert world.backend.runs() == []


@LONG
def test_a_machine_is_healthy_while_its_run_is_attended(world: World) -> None:
    world.wrong(step_s=0.2)
    record = world.backend.submit(world.job(steps=100))
    world.wait(lambda: world.backend.status(record.run).progress.step >= 1)
    home = world.folder / "machine-1" / ".launcher"
    assert health(home, {}) == 0
    world.cloud.take_away()
    assert health(home, {}) == 1


@LONG
def test_a_machine_that_is_no_managed_job_is_given_back_with_its_run(world: World) -> None:
    world.wrong(step_s=0.0)
    record = world.backend.submit(world.job(launch="    machines: false\n"))
    world.backend.release(record.run)
    assert world.cloud.ended == []
    world.wait(lambda: world.backend.look(record.run).state not in ACTIVE)
    world.backend.release(record.run)
    assert world.cloud.ended == [record.run]
    usage = world.backend.status(record.run).spent
    assert usage is not None
