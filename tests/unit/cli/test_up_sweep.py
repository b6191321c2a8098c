"""How the runs of a sweep are submitted and watched, with a backend that only takes notes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from launcher.backend.job import Job
from launcher.backend.protocol import RunStatus
from launcher.cli.sweep_json import sweep_data
from launcher.cli.up_sweep import jobs_of, start_all
from launcher.cli.watching_sweep import finish_sweep
from launcher.show.comparison import best_first, best_of, render_comparison
from launcher.show.follow_all import follow_all
from launcher.state.progress import Progress
from runtime.config.load import check_text
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import RunRecord, RunState


@dataclass
class NotingBackend:
    """Runs end the second time they are looked at, in the state they are `told` to."""

    told: dict[str, RunState] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    on_submit: Callable[[Job], None] = lambda job: None
    submitted: list[Job] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    looked: dict[str, int] = field(default_factory=dict)
    name: str = "sky"

    def submit(self, job: Job) -> RunRecord:
        self.on_submit(job)
        if job.run in self.refused:
            raise UserError(Problem(code="remote-refused", message="no"), exit_code=ExitCode.REMOTE_REFUSED)
        self.submitted.append(job)
        return RunRecord(run=job.run, recipe="r", output_dir="/nowhere", created=0.0)

    def look(self, run: str) -> RunRecord:
        self.looked[run] = self.looked.get(run, 0) + 1
        ended = self.looked[run] > 1
        state = self.told.get(run, "done") if ended else "training"
        codes = {"done": 0, "failed": 5, "stopped": 6, "unverified": 7}
        return RunRecord(
            run=run,
            recipe="r",
            output_dir="/nowhere",
            created=0.0,
            state=state,
            exit_code=codes.get(state) if ended else None,
            sweep="s",
            values={"seed": run[-1]},
        )

    def status(self, run: str) -> RunStatus:
        loss = self.losses.get(run)
        return RunStatus(record=self.look(run), progress=Progress(losses={1: loss} if loss is not None else {}, final_loss=loss))

    def events(self, run: str) -> Any:
        class Events:
            def new(self) -> list[dict[str, Any]]:
                return [{"kind": "trained", "steps": 1}]

        return Events()

    def bill(self, run: str) -> list[str]:
        return [f"{run} is billed"]

    def release(self, run: str) -> None:
        self.released.append(run)


def jobs(count: int, launch: str = "") -> list[Job]:
    text = f"base_model: m\nlearning_rate: 1\ndatasets: [{{path: a/b, type: alpaca}}]\n{launch}"
    config = check_text(text, file="r.yml").config
    assert config is not None
    return [
        Job(run=f"s-{number}", recipe="r.yml", config=config, cwd=Path(), sweep="s", values={"seed": str(number)})
        for number in range(1, count + 1)
    ]


def test_runs_on_rented_machines_are_managed_jobs_unless_the_recipe_says_otherwise() -> None:
    assert [job.config.launch.recovery.machines for job in jobs_of(jobs(2), here=False)] == [True, True]
    assert [job.after for job in jobs_of(jobs(2), here=False)] == [None, None]
    said = jobs_of(jobs(2, "launch: {recovery: {machines: false}}\n"), here=False)
    assert [job.config.launch.recovery.machines for job in said] == [False, False]


def test_a_run_that_could_not_start_keeps_no_other_waiting() -> None:
    backend = NotingBackend(refused=("s-2",))
    runs, left = start_all(backend, jobs_of(jobs(3), here=True), quiet=True)  # type: ignore[arg-type]
    assert [(job.run, job.after) for job in backend.submitted] == [("s-1", None), ("s-3", "s-1")]
    assert (runs, [problem.message for problem in left]) == (["s-1", "s-3"], ["s-2 was not started: no"])


def test_where_none_can_start_the_first_refusal_is_the_answer() -> None:
    with pytest.raises(UserError) as caught:
        start_all(NotingBackend(refused=("s-1", "s-2")), jobs(2), quiet=True)  # type: ignore[arg-type]
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED


def test_ctrl_c_between_two_submissions_says_what_is_billed(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(job: Job) -> None:
        if job.run == "s-2":
            raise KeyboardInterrupt

    backend = NotingBackend(on_submit=interrupt)
    with pytest.raises(KeyboardInterrupt):
        start_all(backend, jobs(3), quiet=True)  # type: ignore[arg-type]
    assert "s-1 had been started" in (err := capsys.readouterr().err)
    assert "s-1 is billed" in err


@pytest.mark.parametrize(
    ("told", "left", "code"),
    [
        ({}, (), 0),
        ({"s-2": "failed"}, (), 5),
        ({"s-1": "stopped", "s-2": "unverified"}, (), 7),
        ({"s-1": "stopped", "s-2": "failed"}, (), 5),
        ({}, (Problem(code="remote-refused", message="no"),), 8),
    ],
)
def test_the_exit_code_is_that_of_the_gravest_end(told: dict[str, RunState], left: tuple[Problem, ...], code: int) -> None:
    backend = NotingBackend(told=told)
    end = finish_sweep(backend, "s", ["s-1", "s-2"], command="up", detach=False, quiet=True, as_json=False, left=left, in_turn=False)  # type: ignore[arg-type]
    assert (end, backend.released) == (code, ["s-1", "s-2"])


def test_all_runs_are_watched_at_once() -> None:
    out = io.StringIO()
    assert follow_all(NotingBackend(told={"s-1": "failed"}), ["s-1", "s-2"], console=Console(file=out)) == "ended"  # type: ignore[arg-type]
    lines = out.getvalue().splitlines()
    assert {"s-1  trained 1 steps", "s-1  failed", "s-2  done"} <= set(lines)


def test_the_best_run_comes_first_and_one_without_a_loss_last() -> None:
    backend = NotingBackend(losses={"s-1": 2.0, "s-2": float("nan"), "s-3": 1.0, "s-4": 0.5}, told={"s-4": "failed"})
    for run in ("s-1", "s-2", "s-3", "s-4", "s-5"):
        backend.look(run)
    statuses = [backend.status(run) for run in ("s-5", "s-2", "s-1", "s-3", "s-4")]
    assert [status.record.run for status in best_first(statuses)] == ["s-4", "s-3", "s-1", "s-2", "s-5"]
    best = best_of(statuses)
    assert best is not None
    # A run that failed has won nothing.
    assert best.record.run == "s-3"
    assert sweep_data("s", statuses)["best"] == "s-3"
    assert "lowest loss: s-3 (seed=3)" in render_comparison("s", statuses, width=100, color=False)
    with_evaluation = [
        replace(status, progress=replace_losses(status.progress, {"s-1": 0.1, "s-3": 0.2}.get(status.record.run, 9.0)))
        for status in statuses[2:4]
    ]
    assert [status.record.run for status in best_first(with_evaluation)] == ["s-1", "s-3"]


def replace_losses(progress: Progress, evaluation: float) -> Progress:
    return replace(progress, eval_losses={1: evaluation})
