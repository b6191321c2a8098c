"""What finished runs teach is found out once, and kept until they or the estimator change."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from launcher.estimate.calibration import Lesson, Likeness
from launcher.plan import lessons as module
from launcher.plan.lessons import KEPT, compared, lessons_from, measured_by
from launcher.show.check import render_check
from launcher.state.runs import RunFolder, create_run
from runtime.config.problem import UserError
from runtime.record import RunRecord

LIKENESS = Likeness(machine="A100", method="lora", model="llama 8", step="full", tokens=4096)
RECIPE = """base_model: ./examples/models/tiny-llama
learning_rate: 0.001
datasets: [{path: ./examples/data/launcher-help.jsonl, type: chat_template}]
micro_batch_size: 8
gradient_accumulation_steps: 2
sequence_len: 256
"""


def run_in(root: Path, name: str, *, state: str = "done", changed: int = 1, events: tuple[dict[str, Any], ...] = ()) -> RunFolder:
    folder = create_run(root, name)
    output = root / "out" / name
    output.mkdir(parents=True)
    (output / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    folder.config_path.write_text(RECIPE, encoding="utf-8")
    folder.save(RunRecord(run=name, recipe="r.yml", output_dir=str(output), created=1.0, state=state))  # type: ignore[arg-type]
    os.utime(folder.record_path, (changed, changed))
    return folder


class Learning:
    """Every run teaches the same, but for those in `nothing`."""

    def __init__(self, *nothing: str) -> None:
        self.asked: list[str] = []
        self._nothing = nothing

    def __call__(self, folder: RunFolder) -> Lesson | None:
        self.asked.append(folder.run)
        return None if folder.run in self._nothing else Lesson(likeness=LIKENESS, speed_factor=1.1, memory_factor=None)


def test_a_run_is_learnt_from_once_and_again_when_it_changes(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "c"), 1):
        run_in(tmp_path, name, changed=number)
    first = Learning("b")
    found = lessons_from(tmp_path, learn=first)
    assert first.asked == ["c", "b", "a"]
    assert [lesson.speed_factor for lesson in found] == [1.1, 1.1]
    again = Learning()
    assert lessons_from(tmp_path, learn=again) == found
    assert again.asked == []
    os.utime(tmp_path / "runs" / "b" / "run.json", (9, 9))
    assert len(lessons_from(tmp_path, learn=again)) == 3
    assert again.asked == ["b"]


def test_another_estimator_learns_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in(tmp_path, "a")
    lessons_from(tmp_path, learn=Learning())
    monkeypatch.setattr(module, "_estimator", lambda: "another")
    again = Learning()
    lessons_from(tmp_path, learn=again)
    assert again.asked == ["a"]


@pytest.mark.parametrize("content", ["", "no JSON", "[]", "{}", '{"estimator": "x", "runs": {"a": 3}}'])
def test_a_broken_memory_is_no_obstacle(tmp_path: Path, content: str) -> None:
    run_in(tmp_path, "a")
    (tmp_path / KEPT).write_text(content, encoding="utf-8")
    assert len(lessons_from(tmp_path, learn=Learning())) == 1


def test_only_the_newest_runs_are_looked_at(tmp_path: Path) -> None:
    for number in range(module.MOST + 3):
        run_in(tmp_path, f"r{number}", changed=number + 1)
    learn = Learning()
    assert len(lessons_from(tmp_path, learn=learn)) == module.MOST
    assert learn.asked[0] == f"r{module.MOST + 2}"
    assert lessons_from(tmp_path / "nowhere", learn=learn) == []


def test_a_run_that_goes_on_or_cannot_be_read_teaches_nothing(tmp_path: Path) -> None:
    loss = {"kind": "loss", "time": 1, "step": 1, "tokens_per_s": 9.0, "memory_gib": 1.0}
    run_in(tmp_path, "at-work", state="training", events=(loss,))
    unknown = run_in(tmp_path, "unknown", events=(loss,))
    unknown.config_path.write_text(RECIPE.replace("./examples/models/tiny-llama", "nobody/knows"), encoding="utf-8")
    run_in(tmp_path, "empty")
    finished = run_in(tmp_path, "finished", events=tuple(loss | {"step": step} for step in range(1, 10)))
    (lesson,) = lessons_from(tmp_path)
    assert lesson == compared(finished, measured_by(finished)).lesson
    with pytest.raises(UserError, match="not trained a step"):
        measured_by(RunFolder(path=tmp_path / "runs" / "empty"))


def test_a_lowered_micro_batch_is_what_the_estimate_is_compared_with(tmp_path: Path) -> None:
    probe = {"kind": "probe", "time": 0, "step": 0, "peak_gib": 3.0, "room_gib": 9.0, "tokens": 512, "micro_batch": 2, "lowered_from": 8}
    machine = {"kind": "machine", "time": 0, "step": None, "gpu": "NVIDIA L4", "processes": 2, "cores": 4}
    loss = {"kind": "loss", "time": 1, "step": 1, "tokens_per_s": 900.0, "memory_gib": 2.5}
    folder = run_in(tmp_path, "lowered", events=(machine, probe, *(loss | {"step": step} for step in range(1, 9))))
    measured = measured_by(folder)
    comparison = compared(folder, measured)
    assert (comparison.estimate.step.workload.micro_batch, comparison.estimate.step.workload.accumulation) == (2, 8)
    assert (comparison.peak_gib, comparison.tokens_per_s) == (3.0, 450.0)
    screen = render_check(comparison, measured, width=120, color=False)
    assert "in the probe" in screen
    assert "in training" in screen
    assert "the probe lowered it from 8" in screen
