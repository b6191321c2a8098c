"""What a run measured, read from its events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from launcher.state.measurements import KEPT, measured_in, measurement_of, measurements
from launcher.state.runs import create_run
from runtime.record import RunRecord


def events(steps: int, *, speed: float = 100.0, gpu: str | None = "NVIDIA A100-SXM4-80GB") -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [{"kind": "machine", "time": 0, "step": None, "gpu": gpu, "processes": 2, "cores": 8}]
    for step in range(1, steps + 1):
        slow = step <= 3
        lines.append(
            {"kind": "loss", "time": step, "step": step, "tokens_per_s": speed / (10 if slow else 1), "memory_gib": min(step, 5) * 1.0}
        )
    return lines


def test_the_first_steps_do_not_count_for_speed_and_all_for_the_peak() -> None:
    measured = measured_in("run", events(12), processes=1)
    assert measured is not None
    assert (measured.tokens_per_s, measured.peak_gib, measured.gpu, measured.processes, measured.steps) == (
        100.0,
        5.0,
        "NVIDIA A100-SXM4-80GB",
        2,
        12,
    )


def test_a_short_run_has_measured_nothing() -> None:
    assert measured_in("run", events(5), processes=1) is None


def test_only_finished_runs_teach_and_what_they_taught_is_kept(tmp_path: Path) -> None:
    for name, state in (("done-one", "done"), ("at-work", "training")):
        folder = create_run(tmp_path, name)
        output = tmp_path / "out" / name
        output.mkdir(parents=True)
        (output / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in events(10)), encoding="utf-8")
        folder.save(RunRecord(run=name, recipe="r.yml", output_dir=str(output), created=1.0, state=state))  # type: ignore[arg-type]
    (tmp_path / "runs" / "broken").mkdir()
    found = list(measurements(tmp_path))
    assert [folder.run for folder, _ in found] == ["done-one"]
    folder = found[0][0]
    assert (folder.path / KEPT).is_file()
    # The events may go; what they said stays.
    (tmp_path / "out" / "done-one" / "events.jsonl").unlink()
    assert measurement_of(folder) == found[0][1]
