"""One run from `up` to its end, by the launcher's own processes."""

from __future__ import annotations

import json
import subprocess
import sys

from launcher.state.outputs import newest_sealed_step
from launcher.state.runs import create_run
from runtime.record import RunRecord


def test_up_trains_publishes_and_reports_json(place):
    place.recipe(steps=12)
    finished = place.launcher("up", "recipe.yml", "--cloud", "local", "-y", "--json", "--name", "first")
    assert finished.returncode == 0, finished.stderr
    printed = json.loads(finished.stdout)
    assert printed["ok"] is True
    assert printed["error"] is None
    data = printed["data"]
    assert (data["run"], data["state"], data["steps"], data["resumes"], data["storage"]) == ("first", "done", 12, 0, None)
    assert data["output_dir"] == str(place.folder / "model-out" / "first")
    assert data["final_loss"] == 5.0 / 12
    assert [(checkpoint["step"], checkpoint["sealed"]) for checkpoint in data["checkpoints"]] == [(5, True), (10, True)]
    record = place.record("first")
    assert (record["exit_code"], record["cwd"]) == (0, str(place.folder))


def test_the_end_shows_the_model_the_curve_and_how_to_chat(place):
    place.recipe(steps=12)
    finished = place.launcher("up", "recipe.yml", "--cloud", "local", "-y", "--name", "first")
    assert finished.returncode == 0, finished.stderr
    assert str(place.folder / "model-out" / "first" / "final") in finished.stdout
    assert "launcher chat first" in finished.stdout
    assert "loss" in finished.stdout
    assert "┤" in finished.stdout
    assert "step 12/12" in finished.stderr


def test_a_plan_runs_as_it_was_made(place):
    place.recipe(steps=8)
    assert place.launcher("plan", "recipe.yml", "--cloud", "local", "--name", "planned", "-o", "plan.lock").returncode == 0
    place.recipe(steps=999)
    refused = place.launcher("up", "plan.lock", "-y", "--set", "max_steps=3")
    assert refused.returncode == 2
    assert "--set" in refused.stderr
    data = place.data("up", "plan.lock", "-y")
    assert (data["run"], data["steps"], data["recipe"]) == ("planned", 8, "recipe.yml")


def test_a_plan_whose_data_changed_is_refused(place):
    place.recipe(steps=8)
    place.launcher("plan", "recipe.yml", "--cloud", "local", "-o", "plan.lock")
    (place.folder / "rows.jsonl").write_text('{"instruction": "other", "input": "", "output": "b"}\n')
    assert place.launcher("up", "plan.lock", "-y").returncode == 3
    assert not (place.folder / "model-out").exists()


def test_a_kill_is_followed_by_a_resume(place):
    place.recipe(steps=20)
    data = place.data("up", "recipe.yml", "--cloud", "local", "-y", "--chaos", "kill@12")
    assert (data["state"], data["steps"], data["resumes"]) == ("done", 20, 1)
    assert [event["exit_status"] for event in place.events(data["run"], "died")] == [-9]
    assert [event["from_step"] for event in place.events(data["run"], "resumed")] == [10]


def test_a_preemption_is_followed_by_a_resume_from_its_own_checkpoint(place):
    place.recipe(steps=20)
    data = place.data("up", "recipe.yml", "--cloud", "local", "-y", "--chaos", "preempt@7:5")
    assert (data["state"], data["resumes"]) == ("done", 1)
    assert [event["from_step"] for event in place.events(data["run"], "resumed")] == [7]
    assert place.events(data["run"], "died") == []


def test_it_gives_up_after_deaths_without_a_newer_checkpoint(place):
    place.recipe(steps=20)
    place.wrong(die_at={"7": 99})
    finished = place.launcher(
        "up", "recipe.yml", "--cloud", "local", "-y", "--json", "--set", "launch.recovery.max_restarts_without_progress=2"
    )
    assert finished.returncode == 5, finished.stderr
    printed = json.loads(finished.stdout)
    assert printed["ok"] is False
    assert printed["error"]["code"] == "training-failed"
    assert "gave up after 3 deaths" in printed["error"]["message"]
    # The first death had sealed step 5; two more without anything newer were restarted.
    assert [attempt["exit_status"] for attempt in printed["data"]["attempts"]] == [-9, -9, -9]


def test_an_error_of_the_training_is_not_tried_again(place):
    place.recipe(steps=20)
    place.wrong(fail_at=8)
    finished = place.launcher("up", "recipe.yml", "--cloud", "local", "-y", "--json")
    assert finished.returncode == 5
    printed = json.loads(finished.stdout)
    assert "the fake was told to fail" in printed["error"]["message"]
    assert len(printed["data"]["attempts"]) == 1


def test_a_model_that_cannot_be_verified_ends_with_7_and_can_be_published_later(place):
    place.recipe(steps=10)
    place.wrong(publish_exit=7)
    data = place.data("up", "recipe.yml", "--cloud", "local", "-y", "--name", "first", code=7)
    assert data["state"] == "unverified"
    place.wrong()
    assert place.data("publish", "first")["state"] == "done"
    # Once more changes nothing, and nothing was trained again.
    assert place.data("publish", "first")["state"] == "done"
    assert [len(place.events("first", kind)) for kind in ("trained", "started")] == [1, 1]


SUPERVISE = """
import os, sys
from pathlib import Path
from launcher.backend.local.runtime_path import runtime_only_path
from launcher.backend.local.supervisor import Supervisor, Terms
from launcher.state.runs import RunFolder

folder = RunFolder(path=Path(sys.argv[1]))
terms = Terms(grace_s=5, max_deaths=1, max_hours=6 / 3600, secrets=())
path = runtime_only_path(Path(sys.argv[2]))
sys.exit(Supervisor(folder=folder, record=folder.record(), terms=terms, environment=dict(os.environ), runtime_path=path).run())
"""


def test_max_hours_stops_at_a_sealed_checkpoint(place):
    # The supervisor itself: a plan would refuse a cap as short as a test.
    place.wrong(step_s=0.02)
    folder = create_run(place.state, "one")
    output = place.folder / "out"
    output.mkdir()
    folder.config_path.write_text(f"output_dir: {output}\nmax_steps: 2000\nsave_steps: 5\n")
    record = RunRecord(
        run="one",
        recipe="r.yml",
        output_dir=str(output),
        created=0.0,
        cwd=str(place.folder),
        python=place.environment["LAUNCHER_RUNTIME_PYTHON"],
    )
    folder.save(record)
    # In a process of its own: when it ends, a supervisor ends whatever lives below it, and below this one are the servers of other tests.
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISE, str(folder.path), str(place.state)],
        env=place.environment,
        cwd=place.folder,
        timeout=120,
        check=False,
    )
    assert done.returncode == 6
    ended = folder.record()
    assert (ended.state, ended.exit_code) == ("stopped", 6)
    assert "max_hours" in ended.message
    assert newest_sealed_step(output) == place.events("one", "loss")[-1]["step"]


def test_workers_that_left_the_group_die_with_the_attempt(place):
    place.recipe(steps=5)
    place.wrong(worker=True)
    data = place.data("up", "recipe.yml", "--cloud", "local", "-y")
    pid = int((place.folder / "model-out" / data["run"] / "worker.pid").read_text())
    import psutil

    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
