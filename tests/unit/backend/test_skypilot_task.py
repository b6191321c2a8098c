"""The rendered task as the real SkyPilot reads it; nothing is asked of a server or a cloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.backend.sky.answers import _NO_MACHINE, detail_of, phase_of
from launcher.backend.sky.skypilot import SkyPilot, sky_task
from launcher.task.resources import Choice
from launcher.task.task import Task, render_task
from runtime.config.problem import UserError


@pytest.mark.cloud
def test_skypilot_reads_the_task_as_it_was_meant(tmp_path: Path) -> None:
    sky = pytest.importorskip("sky")
    wheel = tmp_path / "x.whl"
    wheel.write_bytes(b"")
    text = render_task(
        Task(
            run="kind-otter-x7k",
            config_text="a: $(touch pwned) {{ x }}\n",
            choices=(Choice(gpus="A100:8", infra="aws/us-east-1", spot=True), Choice(gpus="A100:8", infra="aws/us-east-1", spot=False)),
            nodes=2,
            disk_gb=200,
            memory_gib=512,
            ports=(6006, 8080),
            settings={"LAUNCHER_RECIPE": 'it\'s "odd"\n${HOME}'},
            secrets=("HF_TOKEN",),
            wheel=wheel,
        )
    )
    task = sky_task(sky, text, {"LAUNCHER_SUBMISSION": "one"}, {"HF_TOKEN": "canary"})
    assert (task.name, task.num_nodes) == ("kind-otter-x7k", 2)
    assert task.envs["LAUNCHER_CONFIG"] == "a: $(touch pwned) {{ x }}\n"
    assert task.envs["LAUNCHER_RECIPE"] == 'it\'s "odd"\n${HOME}'
    assert task.envs["LAUNCHER_SUBMISSION"] == "one"
    assert task.secrets["HF_TOKEN"].get_secret_value() == "canary"
    assert "canary" not in repr(task)
    assert sorted(resources.use_spot for resources in task.resources) == [False, True]
    one = next(iter(task.resources))
    assert (one.accelerators, one.region, one.disk_size, one.memory) == ({"A100": 8}, "us-east-1", 200, "512+")
    assert sorted(one.ports) == ["6006", "8080"]
    assert one.job_recovery["recover_on_exit_codes"] == [75, 137, 143]
    # SkyPilot wants the same of every one of them.
    assert {(one.autostop_config.idle_minutes, one.autostop_config.down, one.autostop_config.wait_for.value) for one in task.resources} == {
        (5, True, "jobs")
    }


@pytest.mark.cloud
def test_every_status_of_skypilot_has_a_phase() -> None:
    pytest.importorskip("sky")
    from sky.jobs import ManagedJobStatus
    from sky.skylet.job_lib import JobStatus

    ended = {status.name for status in ManagedJobStatus if status.is_terminal()} | {
        status.name for status in JobStatus if status.is_terminal()
    }
    for status in (*ManagedJobStatus, *JobStatus):
        running = phase_of(status) in ("waiting", "starting", "running", "recovering")
        assert running == (status.name not in ended) or status.name == "CANCELLING", status


def test_a_job_that_finds_no_machine_says_where_the_reasons_are() -> None:
    row = {"failure_reason": None, "details": "In backoff, waiting for resources"}
    assert detail_of(row, 7) == "In backoff, waiting for resources; `sky jobs logs --controller 7` lists what each place answered"
    assert detail_of({"failure_reason": "\x1b[31mno quota\x1b[0m\nmore", "details": "x"}, 7) == "no quota"
    assert detail_of({}, 7) == ""


@pytest.mark.cloud
def test_skypilot_still_words_its_backoff_so() -> None:
    utils = pytest.importorskip("sky.jobs.utils")
    assert _NO_MACHINE in Path(utils.__file__).read_text(encoding="utf-8")


@pytest.mark.train
def test_without_skypilot_it_is_said_how_to_get_it() -> None:
    pytest.importorskip("torch")
    with pytest.raises(UserError, match="SkyPilot is not installed") as caught:
        SkyPilot().require()
    assert caught.value.exit_code == 8
