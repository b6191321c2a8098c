"""What a run measured, read from its events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from launcher.state.measurements import KEPT, Probed, measured_in, measurement_of
from launcher.state.runs import RunFolder, create_run
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


def test_a_short_run_has_a_peak_and_no_speed_and_an_empty_one_nothing() -> None:
    short = measured_in("run", events(5), processes=1)
    assert short is not None
    assert (short.peak_gib, short.tokens_per_s) == (5.0, None)
    assert measured_in("run", events(0), processes=1) is None


def test_the_last_probe_counts_with_the_micro_batch_it_settled_on() -> None:
    probe = {"kind": "probe", "time": 0, "step": 0, "peak_gib": 7.5, "room_gib": 40.0, "tokens": 4096}
    probes = [probe | {"micro_batch": 8, "lowered_from": None}, probe | {"micro_batch": 2, "lowered_from": 4}]
    measured = measured_in("run", [*probes, *events(8)], processes=1)
    assert measured is not None
    assert measured.probed == Probed(peak_gib=7.5, micro_batch=2, tokens=4096, lowered_from=4)
    assert (measured.peak_gib, measured.worst_gib) == (5.0, 7.5)
    alone = measured_in("run", [*probes, {"kind": "probe", "peak_gib": "much"}], processes=1)
    assert alone is not None
    assert (alone.peak_gib, alone.worst_gib, alone.steps) == (None, 7.5, 0)


def run_in(root: Path, name: str, state: str, lines: list[dict[str, Any]]) -> RunFolder:
    folder = create_run(root, name)
    output = root / "out" / name
    output.mkdir(parents=True)
    (output / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    folder.save(RunRecord(run=name, recipe="r.yml", output_dir=str(output), created=1.0, state=state))  # type: ignore[arg-type]
    return folder


def test_what_a_finished_run_measured_is_kept(tmp_path: Path) -> None:
    probe = {"kind": "probe", "time": 0, "step": 0, "peak_gib": 7.5, "tokens": 4096, "micro_batch": 2, "lowered_from": 4}
    done, working = run_in(tmp_path, "done-one", "done", [probe, *events(10)]), run_in(tmp_path, "at-work", "training", events(10))
    first = measurement_of(done)
    assert first is not None
    assert measurement_of(working) is not None
    assert (done.path / KEPT).is_file()
    assert not (working.path / KEPT).exists()
    # The events may go; what they said stays.
    (tmp_path / "out" / "done-one" / "events.jsonl").unlink()
    assert measurement_of(done) == first


def test_what_another_version_kept_is_read_anew(tmp_path: Path) -> None:
    done = run_in(tmp_path, "done-one", "done", events(10))
    for old in ('{"run": "done-one", "gpu": null, "peak_gib": 99}', "no JSON", "[]"):
        (done.path / KEPT).write_text(old, encoding="utf-8")
        measured = measurement_of(done)
        assert measured is not None
        assert measured.peak_gib == 5.0
