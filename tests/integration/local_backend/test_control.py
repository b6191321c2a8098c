"""Runs watched and steered from other terminals, and what is left when something dies."""

from __future__ import annotations

import json
import os
import shutil
import signal

import psutil

from runtime.checkpoint.layout import step_folder
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store

SLOW = {"step_s": 0.02}


def start(place, name: str, *more: str, steps: int = 3000, **wrong) -> None:
    """A detached run that takes a minute unless it is stopped."""
    place.recipe(steps=steps)
    place.wrong(**(SLOW | wrong))
    finished = place.launcher("up", "recipe.yml", "--cloud", "local", "-y", "--detach", "--name", name, *more)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == f"{name}\n"
    place.wait(lambda: place.record(name)["state"] == "training" and len(place.events(name, "loss")) > 6)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_stop_seals_and_resume_goes_on_to_the_end(place):
    start(place, "one", steps=400)
    data = place.data("stop", "one")
    assert data["state"] == "stopped"
    assert data["checkpoints"][-1]["step"] == data["steps"]
    place.wrong(step_s=0)
    resumed = place.data("resume", "one", "--max-hours", "3")
    assert (resumed["state"], resumed["steps"], resumed["resumes"]) == ("done", 400, 1)
    assert "max_hours: 3.0" in (place.state / "runs" / "one" / "config.yml").read_text()
    assert resumed["attempts"][1]["resumed_from_step"] == data["steps"]
    # Nothing is left to resume.
    assert place.launcher("resume", "one").returncode == 2


def test_resume_says_which_checkpoint_of_the_storage_it_goes_on_from(place):
    storage = str(place.folder / "store")
    start(place, "one", "--set", f"launch.storage={storage}")
    step = place.data("stop", "one")["checkpoints"][-1]["step"]
    checkpoints = place.folder / "model-out" / "one" / "checkpoints"
    seal_in_store(RunStore(store=open_store(storage), run="one"), checkpoints / step_folder(step), writer="1-aaaa")
    shutil.rmtree(checkpoints)
    assert f"one: going on from the checkpoint of step {step}" in place.launcher("resume", "one", "--detach").stderr
    place.launcher("down", "one", "-y")


def test_two_runs_at_once_do_not_disturb_each_other(place):
    start(place, "one")
    start(place, "two")
    listed = place.data("ps")["runs"]
    assert [(run["run"], run["state"]) for run in listed] == [("two", "training"), ("one", "training")]
    assert place.record("one")["process_group"] != place.record("two")["process_group"]
    assert place.data("stop", "one")["state"] == "stopped"
    assert place.data("status", "tw")["state"] == "training"
    assert place.data("stop", "two")["state"] == "stopped"


def test_a_killed_supervisor_leaves_a_lost_run_that_resumes(place):
    start(place, "one", steps=400)
    record = place.record("one")
    os.kill(record["supervisor_pid"], signal.SIGKILL)
    # The kernel tells the child, which seals and ends.
    place.wait(lambda: not alive(record["process_group"]))
    lost = place.data("status", "one")
    assert lost["state"] == "lost"
    assert lost["checkpoints"][-1]["step"] == lost["steps"]
    findings = place.data("doctor", "one")["findings"]
    assert [finding["code"] for finding in findings] == ["lost"]
    assert "launcher resume one" in findings[0]["fix"]
    place.wrong(step_s=0)
    assert place.data("resume", "one")["state"] == "done"


def test_an_orphan_that_ignores_signals_is_recognised_and_ended(place):
    start(place, "one", "--set", "launch.recovery.grace_s=0.5", deaf=True)
    record = place.record("one")
    os.kill(record["supervisor_pid"], signal.SIGKILL)
    place.wait(lambda: place.data("status", "one")["state"] == "orphaned")
    assert alive(record["process_group"])
    assert [finding["code"] for finding in place.data("doctor")["findings"]] == ["orphaned"]
    assert place.data("stop", "one")["state"] == "stopped"
    assert not alive(record["process_group"])


def test_a_deaf_process_is_killed_after_its_grace(place):
    start(place, "one", "--set", "launch.recovery.grace_s=0.5", deaf=True)
    record = place.record("one")
    data = place.data("stop", "one")
    assert data["state"] == "stopped"
    assert data["attempts"][0]["exit_status"] == -9
    assert not alive(record["process_group"])


def test_a_run_at_work_is_not_started_twice(place):
    start(place, "one")
    finished = place.launcher("resume", "one")
    assert finished.returncode == 2
    assert "is at work" in finished.stderr
    assert len(place.record("one")["attempts"]) == 1
    place.launcher("stop", "one")


def test_down_ends_it_and_delete_removes_what_it_wrote(place):
    start(place, "one")
    output = place.folder / "model-out" / "one"
    (output / "notes.txt").write_text("mine")
    group = place.record("one")["process_group"]
    assert place.launcher("down", "one").returncode == 2, "it must ask first"
    assert alive(group)
    assert place.launcher("down", "one", "-y").returncode == 0
    assert not alive(group)
    assert place.data("status", "one")["state"] == "stopped"
    assert (output / "checkpoints").is_dir()
    finished = place.launcher("down", "one", "-y", "--delete")
    assert "notes.txt" in finished.stderr
    assert [entry.name for entry in output.iterdir()] == ["notes.txt"]
    assert place.data("ps")["runs"] == []


def test_logs_and_metrics_of_a_run_at_work(place, tmp_path):
    start(place, "one")
    assert "fake runtime: train" in place.launcher("logs", "one").stdout
    assert len(place.data("logs", "one", "-n", "1")["lines"]) == 1
    curves = place.data("metrics", "one", "--png", str(tmp_path / "curves.png"))["curves"]
    assert curves["loss"]["steps"][:3] == [1, 2, 3]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "learning rate" in place.launcher("metrics", "one").stdout
    place.launcher("stop", "one")
    followed = place.launcher("logs", "one", "-f")
    assert "the run is stopped" in followed.stdout


def test_steps_repeated_after_a_resume_are_drawn_once(place):
    place.recipe(steps=20)
    place.data("up", "recipe.yml", "--cloud", "local", "-y", "--name", "one", "--chaos", "kill@13")
    assert len(place.events("one", "loss")) > 20
    assert place.data("metrics", "one")["curves"]["loss"]["steps"] == list(range(1, 21))


def test_the_final_model_is_pulled_whole_or_not_at_all(place, tmp_path):
    place.recipe(steps=6)
    place.data("up", "recipe.yml", "--cloud", "local", "-y", "--name", "one")
    data = place.data("pull", "one", "-o", str(tmp_path / "got"))
    assert (data["files"], data["verified"]) == (1, True)
    assert (tmp_path / "got" / "weights.txt").read_text() == "weights after 6\n"
    assert place.launcher("pull", "one", "-o", str(tmp_path / "got")).returncode == 2
    (place.folder / "model-out" / "one" / "final" / "weights.txt").write_text("weights after 7\n")
    finished = place.launcher("pull", "one", "-o", str(tmp_path / "other"))
    assert finished.returncode == 7
    assert "weights.txt" in finished.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir() if "other" in entry.name or "staging" in entry.name) == []


def test_runtime_commands_run_on_the_model_with_its_interpreter(place):
    place.recipe(steps=6)
    place.data("up", "recipe.yml", "--cloud", "local", "-y", "--name", "one")
    assert place.data("merge", "one") == {"command": "merge", "arguments": ["--json"], "run_secret_seen": False}
    assert place.data("evaluate", "one")["command"] == "evaluate"
    assert '"command": "chat"' in place.launcher("chat", "one").stdout


def test_a_model_is_needed_before_it_can_be_talked_to(place):
    start(place, "one")
    for command in ("chat", "merge", "pull", "publish"):
        finished = place.launcher(command, "one")
        assert finished.returncode == 2
        assert "no final model yet" in finished.stderr
    place.launcher("stop", "one")


def test_the_interrupt_of_a_watcher_without_a_terminal_detaches(place):
    place.recipe(steps=3000)
    place.wrong(**SLOW)
    import subprocess
    import sys

    watcher = subprocess.Popen(
        [sys.executable, "-m", "launcher", "up", "recipe.yml", "--cloud", "local", "-y", "--json", "--name", "one"],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    place.wait(lambda: place.record("one")["state"] == "training")
    watcher.send_signal(signal.SIGINT)
    printed, _ = watcher.communicate(timeout=20)
    assert watcher.returncode == 0
    assert json.loads(printed)["data"]["state"] == "training"
    assert place.data("status", "one")["state"] == "training"
    place.launcher("stop", "one")
