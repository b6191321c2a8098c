"""A step tried before training leaves no trace, and decides whether and with which micro batch a run goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.manifest import read_manifest
from runtime.config.load import load_config
from runtime.config.problem import ExitCode, UserError
from runtime.events import Event, latest_per_step, read_events
from runtime.training import probe
from runtime.training.job import Surroundings
from runtime.training.meter import Reading
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

NOISY = {
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "lora_target_linear": True,
    "neftune_noise_alpha": 5,
}
GIB = 2**30


class Card:
    """A GPU of 10 GiB. Each trial of a kind takes the next of its peaks in GiB, nothing when there is none left; None runs out of memory half way."""

    place = "this GPU"
    exact = True

    def __init__(self, *steps: float | None, evaluations: Sequence[float | None] = ()) -> None:
        self.peaks = {"step": list(steps), "evaluate": list(evaluations)}
        self.tried: list[str] = []

    def room(self) -> dict[str, int]:
        return {"cpu": 10 * GIB}

    def held(self) -> dict[str, int]:
        return {"cpu": 0}

    def reading_of(self, work: Callable[[], object]) -> Reading:
        work()
        kind = getattr(work, "__name__", "optimizer")
        self.tried.append(kind)
        peaks = self.peaks.get(kind)
        peak = peaks.pop(0) if peaks else 0.0
        return Reading(peak={"cpu": int((9.0 if peak is None else peak) * GIB)}, ended=peak is not None)


def run(recipe: Path, card: Card | None = None, *, chaos: str = "", attempt: int = 1) -> ExitCode:
    from runtime.training.train import train

    with pytest.MonkeyPatch.context() as patch:
        if card is not None:
            patch.setattr(probe, "meter_of", lambda *_, **__: card)
        return train(load_config(recipe).config, Surroundings(run="tiny", chaos=chaos, attempt=attempt), StopRequest())


def events(recipe: Path, kind: str) -> list[Event]:
    return [event for event in read_events(recipe.with_suffix("") / "events.jsonl") if event["kind"] == kind]


def learnt(recipe: Path) -> tuple[Any, ...]:
    """What must not differ: the losses of all steps, those of all evaluations, and the checksums of the final weights."""
    log = list(read_events(recipe.with_suffix("") / "events.jsonl"))
    files = read_manifest(recipe.with_suffix("") / "final").files
    return (
        [(event["step"], event["loss"], event["grad_norm"], event["learning_rate"]) for event in latest_per_step(log, "loss")],
        [(event["step"], event["loss"]) for event in latest_per_step(log, "eval")],
        {file.path: file.checksum for file in files if file.path.endswith(".safetensors")},
    )


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(NOISY, id="lora-dropout-neftune"),
        pytest.param({"sample_packing": True, "micro_batch_size": 2, "eval_batch_size": 3, "eval_on_start": True}, id="full-packing"),
        pytest.param({"lisa_n_layers": 1, "lisa_step_interval": 3, "gradient_checkpointing": True}, id="lisa"),
    ],
)
def test_a_run_is_bit_for_bit_what_it_is_without(recipe: Callable[..., Path], values: dict[str, Any]) -> None:
    plain, tried = recipe("plain", **values), recipe("tried", **values, launch={"probe": True})
    assert run(plain) == ExitCode.OK
    assert run(tried, chaos="preempt@4") == ExitCode.INTERRUPTED
    assert run(tried, attempt=2) == ExitCode.OK
    assert learnt(tried) == learnt(plain)
    assert events(plain, "probe") == []
    found = events(tried, "probe")
    micro = values.get("micro_batch_size", 11)
    assert [(event["step"], event["micro_batch"], event["lowered_from"]) for event in found] == [(0, micro, None), (4, micro, None)]
    assert all(0 < event["peak_gib"] < event["room_gib"] and event["tokens"] % 8 == 0 for event in found)


@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="half a minute; LONG_TESTS=1 runs it")
def test_two_processes_train_bit_for_bit_as_they_do_without(recipe: Callable[..., Path]) -> None:
    short = {**NOISY, "max_steps": 3, "eval_steps": None, "val_set_size": 0, "save_steps": 3, "micro_batch_size": 4}
    paths = [recipe(name, **short, launch={"processes": 2, "probe": name == "tried"}) for name in ("plain", "tried")]
    for path in paths:
        command = [sys.executable, "-m", "runtime", "train", str(path)]
        ended = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=400, check=False
        )
        assert ended.returncode == 0, ended.stderr
    assert learnt(paths[0]) == learnt(paths[1])
    assert [event["micro_batch"] for event in events(paths[1], "probe")] == [4]


@pytest.mark.parametrize(
    ("peaks", "evaluations", "values", "message", "fix"),
    [
        pytest.param(
            [12.34], [], {}, "one step of 11 rows (528 tokens) needs 12.3 GiB, and", "`micro_batch_size: 1` with `grad", id="above"
        ),
        pytest.param([None], [], {}, "one step of 11 rows (528 tokens) needs more than 9.0 GiB, and", "`gradient_checkpoint", id="ran-out"),
        pytest.param(
            [1.0],
            [11.0],
            {"eval_batch_size": 12},
            "an evaluation of 12 rows (576 tokens) needs 11.0 GiB, and",
            "`eval_batch_size: 6`",
            id="eval",
        ),
        pytest.param(
            [12.0, 11.0],
            [],
            {"auto_find_batch_size": True},
            "one step of 1 row (48 tokens) needs 11.0 GiB even with micro_batch_size 1, and",
            "a lower `sequence_len`",
            id="at-the-smallest",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_step(
    recipe: Callable[..., Path], peaks: list[float | None], evaluations: list[float], values: dict[str, Any], message: str, fix: str
) -> None:
    path = recipe(**values, launch={"probe": True})
    with pytest.raises(UserError) as refused:
        run(path, Card(*peaks, evaluations=evaluations))
    (problem,) = refused.value.problems
    assert (refused.value.exit_code, problem.code) == (ExitCode.REFUSED, "does-not-fit")
    assert problem.message == f"{message} this GPU has room for 10.0 GiB"
    assert fix in problem.fix
    assert events(path, "loss") == events(path, "checkpoint") == events(path, "probe") == []
    assert events(path, "failed")[0]["message"].endswith(problem.message)


def test_a_micro_batch_that_does_not_fit_gives_way_to_a_smaller_one_of_the_same_step(recipe: Callable[..., Path]) -> None:
    beat = {**NOISY, "eval_batch_size": 4, "save_steps": 3}
    wanted = {**beat, "micro_batch_size": 6, "gradient_accumulation_steps": 2, "auto_find_batch_size": True}
    asked = recipe("asked", **{**beat, "eval_batch_size": 2, "micro_batch_size": 2, "gradient_accumulation_steps": 6})
    calm, stormy = recipe("calm", **wanted), recipe("stormy", **wanted)
    assert run(asked) == ExitCode.OK
    card = Card(None, 20.0, 5.0)
    assert run(calm, card) == ExitCode.OK
    assert card.tried.count("step") == 3
    assert learnt(calm) == learnt(asked)
    (found,) = events(calm, "probe")
    assert (found["micro_batch"], found["lowered_from"], found["peak_gib"], found["room_gib"]) == (2, 6, 5.0, 10.0)
    assert [event["steps"] for event in events(calm, "plan")] == [12]
    # In the second epoch, it goes on with what it came down to.
    assert run(stormy, Card(12.0, 12.0, 5.0), chaos="preempt@10") == ExitCode.INTERRUPTED
    again = Card(5.0)
    assert run(stormy, again, attempt=2) == ExitCode.OK
    assert again.tried.count("step") == 1
    assert learnt(stormy) == learnt(asked)
    assert [(event["micro_batch"], event["lowered_from"]) for event in events(stormy, "probe")] == [(2, 6), (2, None)]


def test_a_smaller_machine_lowers_it_again_and_skips_what_was_trained(recipe: Callable[..., Path]) -> None:
    values = {"micro_batch_size": 6, "gradient_accumulation_steps": 2, "auto_find_batch_size": True, "eval_steps": None, "val_set_size": 0}
    calm, moved = recipe("calm", **values), recipe("moved", **values)
    assert run(calm, Card()) == ExitCode.OK
    assert run(moved, Card(), chaos="preempt@4") == ExitCode.INTERRUPTED
    assert run(moved, Card(12.0), attempt=2) == ExitCode.OK
    assert [(event["micro_batch"], event["lowered_from"]) for event in events(moved, "probe")] == [(6, None), (3, 6)]
    one, other = ([(event["step"], event["tokens"]) for event in events(path, "loss")] for path in (calm, moved))
    assert one == other, "the same rows in the same steps"
    for (_, loss, *_), (_, after, *_) in zip(learnt(calm)[0], learnt(moved)[0], strict=True):
        assert after == pytest.approx(loss, abs=1e-3)
