"""Benchmarks after training: whatever happens in them, the trained model stays and the run ends well."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.checkpoint.sealing import open_staging, seal
from runtime.config.problem import ExitCode, UserError
from runtime.publish import benchmark as benchmarks
from runtime.publish.benchmark import Benchmark, require_benchmark, subject
from runtime.training import aftermath
from runtime.training.aftermath import benchmark_after_training, refuse_benchmark
from runtime.training.folder import RunFolder
from runtime.training.processes import Rank
from runtime.training.stop import StopRequest

pytestmark = pytest.mark.train

SCORES = {"sums": {"acc": 0.75, "acc_stderr": 0.1}}


class Job:
    """A run in `path` that has just sealed its model."""

    def __init__(self, path: Path, **values: Any) -> None:
        self.folder, self.rank, self.stop = RunFolder(path=path), Rank(), StopRequest()
        self.config = SimpleNamespace(
            **{"lm_eval_tasks": ["sums"], "lm_eval_post_train": None, "lm_eval_model": None, "lm_eval_batch_size": None} | values
        )
        self.stop.deferred = True  # as training leaves it
        self.said: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.progress = SimpleNamespace(say=self.said.append)
        with open_staging(path) as staging:
            (staging / "model.safetensors").write_bytes(b"weights")
            seal(staging, self.folder.final, step=7, config_hash="h", world_size=1, run="r", attempt=1, kind="final")

    def emit(self, kind: str, step: int | None = None, **fields: Any) -> None:
        self.events.append({"kind": kind, "step": step, **fields})

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the benchmark does, one entry a call: an exception is raised, a function called; returns the calls that are left."""
    plan: list[Any] = []

    def run(config: Any, folder: Path) -> Benchmark:
        outcome = plan.pop(0)
        if callable(outcome):
            outcome()
        elif outcome is not None:
            raise outcome
        return Benchmark(model=str(folder), scores=SCORES, report={"results": {"sums": {"acc,none": 0.75}}})

    monkeypatch.setattr(aftermath, "run_benchmark", run)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    return plan


def test_results_are_an_event_and_a_file_and_are_not_made_twice(tmp_path: Path, harness: list[Any]) -> None:
    job = Job(tmp_path)
    harness.append(None)
    assert benchmark_after_training(job) == ExitCode.OK  # type: ignore[arg-type]
    assert job.events[-1]["kind"] == "benchmark"
    assert job.events[-1]["scores"] == SCORES
    assert job.events[-1]["step"] == 7
    written = json.loads((tmp_path / "lm_eval.json").read_text())
    assert written["state"] == "done"
    assert written["scores"] == SCORES
    assert written["results"] == {"sums": {"acc,none": 0.75}}
    assert "benchmark: sums acc 0.75" in job.said
    assert benchmark_after_training(job) == ExitCode.OK  # type: ignore[arg-type]
    job.config.lm_eval_tasks = ["others"]
    harness.append(None)
    assert benchmark_after_training(job) == ExitCode.OK  # type: ignore[arg-type]
    assert harness == []


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ConnectionError("no network"), KeyError("task")])
def test_a_failure_is_told_and_costs_nothing(tmp_path: Path, harness: list[Any], error: Exception) -> None:
    job = Job(tmp_path)
    harness.append(error)
    assert benchmark_after_training(job) == ExitCode.OK  # type: ignore[arg-type]
    assert job.kinds() == ["stage", "benchmark_failed"]
    assert type(error).__name__ in job.events[-1]["message"]
    assert (tmp_path / "final" / "model.safetensors").read_bytes() == b"weights"


def test_a_stop_leaves_the_benchmark_to_whoever_resumes(tmp_path: Path, harness: list[Any]) -> None:
    job = Job(tmp_path)
    for _ in range(3):
        job.stop.requested = False
        harness.append(lambda: job.stop.on_signal(15, None))
        assert benchmark_after_training(job) == ExitCode.INTERRUPTED  # type: ignore[arg-type]
    job.stop.requested = False
    harness.append(None)
    assert benchmark_after_training(job) == ExitCode.OK  # type: ignore[arg-type]
    assert job.kinds()[-1] == "benchmark"


def test_a_stop_that_came_before_is_answered_at_once(tmp_path: Path, harness: list[Any]) -> None:
    job = Job(tmp_path)
    job.stop.requested = True
    assert benchmark_after_training(job) == ExitCode.INTERRUPTED  # type: ignore[arg-type]
    assert harness == []


class Killed(BaseException):
    """The process dies: nothing is caught and nothing is tidied up."""


def test_a_benchmark_that_kills_its_process_is_left_out_in_the_end(tmp_path: Path, harness: list[Any]) -> None:
    job = Job(tmp_path)
    for _ in range(2):
        harness.append(Killed())
        with pytest.raises(Killed):
            benchmark_after_training(job)  # type: ignore[arg-type]
    assert benchmark_after_training(job) == ExitCode.OK  # type: ignore[arg-type]
    assert "left out" in job.said[-1]


@pytest.mark.parametrize("values", [{"lm_eval_tasks": None}, {"lm_eval_post_train": False}])
def test_without_tasks_or_the_wish_nothing_happens(tmp_path: Path, harness: list[Any], values: dict[str, Any]) -> None:
    job = Job(tmp_path, **values)
    assert benchmark_after_training(job) == ExitCode.OK  # type: ignore[arg-type]
    assert job.events == []
    refuse_benchmark(job.config)


def test_a_missing_package_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="lm_eval") as caught:
        refuse_benchmark(SimpleNamespace(lm_eval_tasks=["sums"], lm_eval_post_train=None))
    assert "pip install lm_eval" in caught.value.problems[0].fix


def test_a_task_that_does_not_exist_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.touch()
    monkeypatch.setattr(benchmarks, "find_spec", lambda name: object())
    monkeypatch.setattr(benchmarks, "_tasks", lambda named: SimpleNamespace(all_tasks=["arc_easy", "gsm8k"] if named else []))
    require_benchmark(SimpleNamespace(lm_eval_tasks=["gsm8k", str(own)]))
    with pytest.raises(UserError) as caught:
        require_benchmark(SimpleNamespace(lm_eval_tasks=["arc_eazy", str(own), str(tmp_path / "missing.yaml")]))
    assert [(problem.path, problem.code) for problem in caught.value.problems] == [
        ("lm_eval_tasks[0]", "unknown-name"),
        ("lm_eval_tasks[2]", "unknown-name"),
    ]
    assert "'arc_easy'" in caught.value.problems[0].fix


def test_results_belong_to_a_model_and_its_tasks(tmp_path: Path) -> None:
    job = Job(tmp_path)
    here = subject(job.config, job.folder.final)
    job.config.lm_eval_model = "org/base"
    assert subject(job.config, job.folder.final) == "org/base on sums"
    assert here.endswith(" on sums")
    assert "org/base" not in here
