"""Several runs of one recipe on this machine: in turn, under one name, compared at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

# Each starts many processes. CI goes through a sweep from its plan to its comparison, and through one that is refused.
LONG = pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="set LONG_TESTS=1")


def test_the_runs_go_one_after_another_and_a_failure_stops_no_other(place):
    place.recipe(steps=6, more="output_dir: results\n")
    place.wrong(step_s=0.02, fail_at=3, fail_run="try-2")
    data = place.data(
        "up", "recipe.yml", "--cloud", "local", "-y", "--name", "try", "--set", "learning_rate=1e-4,2e-4,3e-4", "--max-cost", "5", code=5
    )
    runs = {run["run"]: run for run in data["runs"]}
    assert (data["sweep"], data["best"] in ("try-1", "try-3")) == ("try", True)
    assert {name: run["state"] for name, run in runs.items()} == {"try-1": "done", "try-2": "failed", "try-3": "done"}
    assert runs["try-3"]["values"] == {"learning_rate": "3e-4"}
    # Each has a folder of its own below the recipe's, and begins when the one before it has ended.
    assert {run["output_dir"] for run in runs.values()} == {str(place.folder / "results" / name) for name in runs}
    began = [runs[f"try-{number}"]["attempts"][0]["started"] for number in (1, 2, 3)]
    ended = [runs[f"try-{number}"]["attempts"][-1]["ended"] for number in (1, 2, 3)]
    assert began[0] < ended[0] < began[1] < ended[1] < began[2]
    config = (place.state / "runs" / "try-2" / "config.yml").read_text()
    assert "max_cost_usd: 1.666667" in config

    listed = place.launcher("ps")
    assert "SWEEP" in listed.stdout
    assert place.data("status", "try")["best"] == data["best"]
    compared = place.launcher("status", "try").stdout.splitlines()
    assert compared[0].split()[:3] == ["RUN", "learning_rate", "STATE"]
    assert "2 of 3 runs done" in compared[-1]
    curves = place.data("metrics", "try")["curves"]
    assert len(curves["try-3"]["loss"]["steps"]) == 6
    assert "learning_rate=3e-4" in place.launcher("metrics", "try").stdout


def test_one_run_that_cannot_start_starts_none_and_all_is_told_at_once(place):
    place.recipe(steps=6)
    refused = place.launcher(
        "up", "recipe.yml", "--cloud", "local", "-y", "--set", "learning_rate=1e-4,-1", "--set", "optimizer=adamw_torch,none_such"
    )
    assert refused.returncode == 2
    assert "none_such" in refused.stderr
    assert "learning_rate=-1" in refused.stderr
    assert not (place.state / "runs").exists()


@LONG
def test_a_sweep_that_was_left_goes_on_and_stops_as_a_whole(place):
    place.recipe(steps=3000)
    place.wrong(step_s=0.02)
    started = place.launcher("up", "recipe.yml", "--cloud", "local", "-y", "--detach", "--name", "long", "--set", "seed=1,2,3")
    assert (started.returncode, started.stdout) == (0, "long\n")
    place.wait(lambda: place.record("long-1")["state"] == "training" and place.record("long-3")["message"])
    listed = {run["run"]: run for run in place.data("ps", "--active")["runs"]}
    assert {name: run["state"] for name, run in listed.items()} == {"long-1": "training", "long-2": "starting", "long-3": "starting"}
    assert listed["long-3"]["message"] == "waits for the end of long-2"
    assert "waits for long-1" in place.launcher("status", "long").stdout

    stopped = place.data("stop", "long")
    assert {run["state"] for run in stopped["runs"]} == {"stopped"}
    # Nobody's turn came in between.
    assert [len(place.record(f"long-{number}")["attempts"]) for number in (1, 2, 3)] == [1, 0, 0]
    place.wrong(step_s=0)
    assert place.data("resume", "long-2")["state"] == "done"
    resumed = place.data("resume", "long")
    assert {run["state"] for run in resumed["runs"]} == {"done"}
    # In turn again, and what was done is not done twice.
    assert place.record("long-1")["attempts"][-1]["ended"] < place.record("long-3")["attempts"][0]["started"]
    assert [len(place.record(f"long-{number}")["attempts"]) for number in (1, 2, 3)] == [2, 1, 1]
    assert place.launcher("resume", "long").returncode == 2
    assert "a part of its budget" in place.launcher("resume", "long", "--max-cost", "5").stderr
    assert place.launcher("down", "long", "--delete", "-y").returncode == 0
    assert not list((place.state / "runs").iterdir())


@LONG
def test_ctrl_c_leaves_the_runs_to_themselves(place):
    place.recipe(steps=200)
    place.wrong(step_s=0.01)
    watching = subprocess.Popen(
        [sys.executable, "-m", "launcher", "up", "recipe.yml", "--cloud", "local", "-y", "--name", "left", "--set", "seed=1,2"],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    place.wait(lambda: len(place.events("left-1", "loss")) > 3)
    time.sleep(0.1)
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=20)
    assert (watching.returncode, out) == (0, "left\n")
    assert "2 of 2 runs of left go on without this terminal" in err
    place.wrong(step_s=0)
    place.wait(lambda: place.record("left-2")["state"] == "done", timeout=30)


@LONG
def test_a_plan_of_a_sweep_runs_as_it_was_made(place):
    place.recipe(steps=4)
    planned = place.data(
        "plan", "recipe.yml", "--cloud", "local", "--name", "fixed", "--set", "learning_rate=1e-4,2e-4", "-o", "sweep.lock"
    )
    assert [run["values"] for run in planned["runs"]] == [{"learning_rate": "1e-4"}, {"learning_rate": "2e-4"}]
    place.recipe(steps=900)
    data = place.data("up", "sweep.lock", "-y")
    assert [(run["run"], run["steps"], run["state"]) for run in sorted(data["runs"], key=lambda run: run["run"])] == [
        ("fixed-1", 4, "done"),
        ("fixed-2", 4, "done"),
    ]
    (place.folder / "rows.jsonl").write_text('{"instruction": "c", "input": "", "output": "d"}\n')
    stale = place.launcher("up", "sweep.lock", "-y", "--json")
    assert stale.returncode == 3
    told = json.loads(stale.stdout)["error"]["problems"]
    assert [problem["code"] for problem in told] == ["stale-plan"]
    assert "rows.jsonl has changed since" in told[0]["message"]
