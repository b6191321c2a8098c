"""What ends a training early says so, with the right exit code, and leaves what was sealed before untouched."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.disk import disk_error
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.config.load import load_config
from runtime.config.problem import ExitCode, UserError
from runtime.events import Event, read_events
from runtime.record import RunRecord, write_record
from runtime.training.job import Surroundings
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train


def events(recipe: Path) -> list[Event]:
    return list(read_events(recipe.with_suffix("") / "events.jsonl"))


def run(recipe: Path, stop: StopRequest | None = None, **surroundings: Any) -> ExitCode:
    """Train in this process."""
    from runtime.training.train import train

    return train(load_config(recipe).config, Surroundings(**surroundings), stop or StopRequest())


def start(recipe: Path, **environment: str) -> subprocess.Popen[str]:
    """A training process of its own."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "runtime", "train", str(recipe)], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def await_step(recipe: Path, step: int) -> None:
    """Return once the run has logged `step`."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        if any(event["kind"] == "loss" and event["step"] >= step for event in events(recipe)):
            return
        time.sleep(0.05)
    raise AssertionError("the run never got there")


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_seals_at_the_next_step_and_exits_6(recipe: Callable[..., Path], processes: int) -> None:
    # Saved by the clock, at every step or so: several processes must agree on that as they do on the end.
    path = recipe(max_steps=5000, eval_steps=None, val_set_size=0, save_steps=None, logging_steps=1, launch={"processes": processes})
    child = start(path, LAUNCHER_PREEMPTION_H="0.00001")
    await_step(path, 5)
    child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=120)
    assert child.returncode == ExitCode.INTERRUPTED, said
    assert "Traceback" not in said
    last = events(path)[-1]
    assert last["kind"] == "stopped"
    sealed = path.with_suffix("") / "checkpoints" / f"step-{last['step']:08d}"
    assert verify(sealed, read_manifest(sealed)) == ()
    assert [event["step"] for event in events(path) if event["kind"] == "loss"] == list(range(1, last["step"] + 1))
    saved = [event for event in events(path) if event["kind"] == "checkpoint"]
    assert len(saved) > 2
    assert {read_manifest(Path(event["path"])).world_size for event in saved} == {processes}


def test_a_stop_before_training_exits_6(recipe: Callable[..., Path]) -> None:
    path = recipe()
    child = start(path)
    end = time.monotonic() + 120
    while not events(path) and time.monotonic() < end:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=120)
    assert child.returncode == ExitCode.INTERRUPTED
    assert not (path.with_suffix("") / "final").exists()


def test_too_little_time_keeps_the_last_sealed_checkpoint(recipe: Callable[..., Path]) -> None:
    path = recipe()
    assert run(path, run="tiny", chaos="preempt@7:0.0001") == ExitCode.INTERRUPTED
    assert [folder.name for folder in (path.with_suffix("") / "checkpoints").iterdir()] == ["step-00000005"]
    told = next(event for event in events(path) if event["kind"] == "preempted")
    assert told["step"] == 7
    assert told["deadline_s"] <= 0.0001


def test_the_supervisors_notice_is_told(recipe: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "notice.json").write_text(json.dumps({"kind": "preempt", "deadline_s": 500, "time": time.time(), "reason": "spot"}))
    stop = StopRequest()
    stop.requested = True
    path = recipe()
    assert run(path, stop, state_dir=tmp_path) == ExitCode.INTERRUPTED
    told = next(event for event in events(path) if event["kind"] == "preempted")
    assert (told["step"], told["reason"]) == (1, "spot")
    assert 400 < told["deadline_s"] <= 500


def test_a_stop_inside_an_evaluation_leaves_it_to_the_next_attempt(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.training.trainer import RunTrainer

    path, calm = recipe(), recipe("calm")
    stop = StopRequest()
    whole = RunTrainer.prediction_step

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        stop.requested = True
        return whole(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(RunTrainer, "prediction_step", interrupted)
        assert run(path, stop, run="tiny") == ExitCode.INTERRUPTED
    assert not [event for event in events(path) if event["kind"] == "eval"]
    assert run(path, run="tiny") == ExitCode.OK
    assert run(calm) == ExitCode.OK

    def evaluated(recipe: Path) -> list[tuple[int, float]]:
        return [(event["step"], event["loss"]) for event in events(recipe) if event["kind"] == "eval"]

    assert evaluated(path) == evaluated(calm)


def test_a_loss_that_is_no_number_ends_with_5(recipe: Callable[..., Path]) -> None:
    path = recipe(learning_rate=1e30, max_grad_norm=1e30, optimizer="sgd", save_steps=1)
    with pytest.raises(UserError, match="the loss of step") as caught:
        run(path)
    assert caught.value.exit_code == ExitCode.TRAINING_FAILED
    assert events(path)[-1]["kind"] == "failed"
    for folder in (path.with_suffix("") / "checkpoints").iterdir():
        assert verify(folder, read_manifest(folder)) == ()


def test_the_watchdog_ends_with_5(recipe: Callable[..., Path]) -> None:
    path = recipe(loss_watchdog_threshold=0.1, loss_watchdog_patience=4, logging_steps=1)
    with pytest.raises(UserError, match="for 4 steps") as caught:
        run(path)
    assert caught.value.exit_code == ExitCode.TRAINING_FAILED
    assert events(path)[-2]["step"] == 4


def test_early_stopping_ends_well_and_stays_ended(recipe: Callable[..., Path]) -> None:
    path = recipe(
        learning_rate=1e-9,
        eval_steps=2,
        save_steps=2,
        early_stopping_patience=1,
        metric_for_best_model="loss",
        greater_is_better=True,
        max_steps=40,
    )
    assert run(path, run="tiny") == ExitCode.OK
    steps = next(event for event in events(path) if event["kind"] == "trained")["steps"]
    assert steps < 40
    assert run(path, run="tiny") == ExitCode.OK
    assert max(event["step"] for event in events(path) if event["kind"] == "loss") == steps


def test_a_full_disk_ends_with_5_and_costs_no_checkpoint(recipe: Callable[..., Path]) -> None:
    path = recipe()
    assert run(path, run="tiny", chaos="preempt@5") == ExitCode.INTERRUPTED
    # A limit on the size of files fails as a full disk does, in the middle of writing.
    child = subprocess.run(
        [sys.executable, "-m", "runtime", "train", str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "LAUNCHER_RUN": "tiny", "LAUNCHER_ATTEMPT": "2"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert child.returncode == ExitCode.TRAINING_FAILED, child.stderr
    assert "the disk is full" in child.stderr
    assert "Traceback" not in child.stderr
    assert [folder.name for folder in (path.with_suffix("") / "checkpoints").iterdir()] == ["step-00000005"]
    assert run(path, run="tiny", attempt=3) == ExitCode.OK


def test_a_disk_that_is_full_for_a_while_costs_a_checkpoint_and_nothing_else(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runtime.training import saving

    path, real = recipe(save_steps=2, max_steps=6), saving.seal

    def full_at_2(*args: Any, **settings: Any) -> Any:
        if settings["step"] == 2:
            raise disk_error(OSError(errno.ENOSPC, "No space left on device"), path.parent)
        return real(*args, **settings)

    monkeypatch.setattr(saving, "seal", full_at_2)
    assert run(path, run="tiny") == ExitCode.OK
    assert "no checkpoint was sealed: the disk is full" in capsys.readouterr().err
    assert sorted(folder.name for folder in (path.with_suffix("") / "checkpoints").iterdir()) == ["step-00000004", "step-00000006"]


def test_a_folder_of_another_run_is_refused(recipe: Callable[..., Path]) -> None:
    path = recipe()
    folder = path.with_suffix("")
    write_record(folder / "run.json", RunRecord(run="other", recipe="r.yml", output_dir=str(folder), created=1.0))
    with pytest.raises(UserError, match="belongs to run other") as caught:
        run(path, run="tiny")
    assert caught.value.exit_code == ExitCode.INVALID
    assert not (folder / "events.jsonl").exists()


def test_a_folder_that_is_trained_in_is_refused(recipe: Callable[..., Path]) -> None:
    path = recipe()
    path.with_suffix("").mkdir()
    with (path.with_suffix("") / "train.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is training"):
            run(path)


def test_earlier_checkpoints_are_not_trained_over(recipe: Callable[..., Path]) -> None:
    path = recipe()
    assert run(path, chaos="preempt@3") == ExitCode.INTERRUPTED
    with pytest.raises(UserError, match="up to step 3"):
        run(path)
    assert run(recipe(auto_resume_from_checkpoints=True)) == ExitCode.OK


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"base_model": "/nowhere/model"}, "there is no folder /nowhere/model"),
        ({"flash_attention": True}, "needs an NVIDIA GPU"),
        ({"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_modules": ["nothing_like_it"]}, "does not fit the model"),
    ],
)
def test_what_cannot_be_trained_is_refused(recipe: Callable[..., Path], values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        run(recipe(**values))
    assert caught.value.exit_code == ExitCode.INVALID
    assert all(problem.fix for problem in caught.value.problems)
