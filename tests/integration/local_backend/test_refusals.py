"""What a run refuses before it starts, and what it never writes down."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path

import pytest

CANARY = "canary-3f9b1c7e"


def up(place, *more: str, environment: dict[str, str] | None = None):
    return place.launcher("up", "recipe.yml", "--cloud", "local", "-y", *more, environment=environment)


def nothing_was_left(place) -> bool:
    runs = place.state / "runs"
    return not (place.folder / "model-out").exists() and (not runs.exists() or list(runs.iterdir()) == [])


def test_a_missing_secret_stops_it_before_it_starts(place):
    place.recipe(more="  secrets: [CANARY_TOKEN, HF_TOKEN]\n")
    finished = up(place, "--json", environment={"HF_TOKEN": "", "CANARY_TOKEN": "x"})
    assert finished.returncode == 8
    printed = json.loads(finished.stdout)
    assert printed["error"]["code"] == "missing-secret"
    assert "HF_TOKEN" in printed["error"]["message"]
    assert nothing_was_left(place)


def test_a_secret_reaches_the_training_and_no_file(place, tmp_path):
    place.recipe(steps=8, more="  secrets: [CANARY_TOKEN]\n")
    environment = {"CANARY_TOKEN": CANARY, "OTHER_API_KEY": CANARY + "-other"}
    finished = place.launcher("up", "recipe.yml", "--cloud", "local", "-y", "--name", "one", environment=environment)
    assert finished.returncode == 0, finished.stderr
    log = (place.state / "runs" / "one" / "log.txt").read_text()
    assert "CANARY_TOKEN" in log, "the fake lists the names of its environment"
    assert "OTHER_API_KEY" not in log
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in finished.stdout + finished.stderr
    # Another terminal without the secret cannot go on with the run, and says which is missing.
    assert place.launcher("chat", "one").returncode == 8


def test_a_secret_is_in_no_argument_list(place):
    place.recipe(steps=3000, more="  secrets: [CANARY_TOKEN]\n")
    place.wrong(step_s=0.02)
    place.launcher("up", "recipe.yml", "--cloud", "local", "-y", "--detach", "--name", "one", environment={"CANARY_TOKEN": CANARY})
    place.wait(lambda: place.record("one")["process_group"])
    import psutil

    record = place.record("one")
    for pid in (record["supervisor_pid"], record["process_group"]):
        assert CANARY not in " ".join(psutil.Process(pid).cmdline())
        assert psutil.Process(pid).environ()["CANARY_TOKEN"] == CANARY
    place.launcher("stop", "one")


def test_an_output_folder_of_another_run_is_left_alone(place):
    place.recipe(steps=6)
    assert up(place, "--name", "one", "--set", "output_dir=./out").returncode == 0
    before = {path: path.read_bytes() for path in (place.folder / "out").rglob("*") if path.is_file()}
    finished = up(place, "--name", "two", "--set", "output_dir=./out")
    assert finished.returncode == 2
    assert "belongs to run 'one'" in finished.stderr
    assert "launcher resume one" in finished.stderr
    assert {path: path.read_bytes() for path in (place.folder / "out").rglob("*") if path.is_file()} == before
    assert [run["run"] for run in place.data("ps")["runs"]] == ["one"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(place, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    place.recipe()
    finished = up(place, "--set", f"output_dir={tmp_path / 'closed' / 'out'}")
    assert finished.returncode == 2
    assert "no permission" in finished.stderr


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a file system nobody can write to")
def test_an_output_folder_that_cannot_be_made(place):
    place.recipe()
    finished = up(place, "--set", "output_dir=/proc/launcher-out")
    assert finished.returncode == 2
    assert "/proc/launcher-out" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert nothing_was_left(place)


def test_a_name_that_is_taken(place):
    place.recipe(steps=6)
    assert up(place, "--name", "one").returncode == 0
    finished = up(place, "--name", "one")
    assert finished.returncode == 2
    assert "already a run called 'one'" in finished.stderr


def test_without_a_terminal_it_needs_a_yes(place):
    place.recipe()
    finished = place.launcher("up", "recipe.yml", "--cloud", "local")
    assert finished.returncode == 2
    assert "-y" in finished.stderr
    assert nothing_was_left(place)


def test_a_dry_run_changes_nothing(place):
    place.recipe()
    assert up(place, "--dry-run").returncode == 0
    assert nothing_was_left(place)


@pytest.mark.parametrize(
    ("place_options", "code", "told"),
    [
        ((), 2, "--cloud local"),
        (("--cloud", "aws"), 2, "--gpus"),
        (("--gpus", "A100:8"), 2, "--storage"),
    ],
)
def test_a_run_that_is_not_told_where_to_go_is_refused(place, place_options, code, told):
    place.recipe()
    finished = place.launcher("up", "recipe.yml", "-y", *place_options)
    assert finished.returncode == code
    assert told in finished.stderr
    assert nothing_was_left(place)


@pytest.mark.skipif(find_spec("sky") is not None, reason="SkyPilot is installed here")
def test_without_skypilot_nothing_is_rented(place):
    place.recipe()
    finished = place.launcher("up", "recipe.yml", "-y", "--gpus", "A100:8", "--storage", "s3://bucket/runs")
    assert finished.returncode == 8
    assert "finetune-launcher[cloud]" in finished.stderr
    assert nothing_was_left(place)


@pytest.mark.parametrize("flag", [("--region", "us-east-1"), ("--spot",), ("--image", "x"), ("--nodes", "2")])
def test_flags_that_mean_nothing_here_are_refused(place, flag):
    place.recipe()
    finished = up(place, *flag)
    assert finished.returncode == 2
    assert "no effect with --cloud local" in finished.stderr


def test_gpus_that_are_not_here_are_refused(place):
    place.recipe()
    finished = up(place, "--gpus", "H200:64")
    assert finished.returncode == 3
    assert "not 64×H200" in finished.stderr
    assert nothing_was_left(place)


def test_the_same_in_a_recipe_is_a_warning(place):
    place.recipe(steps=6, more="  image: x/y\n")
    finished = up(place)
    assert finished.returncode == 0
    assert "warning: launch.image has no effect" in finished.stderr


def test_every_problem_of_a_recipe_is_shown(place):
    place.recipe(more="  nonsense: 1\nlearnng_rate: 3\n")
    finished = up(place)
    assert finished.returncode == 2
    assert "nonsense" in finished.stderr
    assert "learnng_rate" in finished.stderr
    assert "2 problems" in finished.stderr


def test_an_interpreter_without_the_stack_is_refused_before_anything_is_made(place, tmp_path):
    bad = tmp_path / "bad-python"
    bad.write_text("#!/bin/sh\necho missing:torch\n")
    bad.chmod(0o755)
    place.recipe()
    finished = up(place, environment={"LAUNCHER_RUNTIME_PYTHON": str(bad)})
    assert finished.returncode == 2
    assert "lacks torch" in finished.stderr
    assert nothing_was_left(place)
