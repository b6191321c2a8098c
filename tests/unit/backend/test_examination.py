import os
import time

from launcher.backend.local.examination import examine
from launcher.backend.local.machine import LocalBackend
from launcher.state.runs import create_run
from runtime.record import RunRecord


def backend(tmp_path) -> LocalBackend:
    return LocalBackend(state_root=tmp_path / "state", data_root=tmp_path / "data", environment=dict(os.environ), report=lambda _: None)


def make(tmp_path, run: str, state="done", *, owner: str | None = None):
    output = tmp_path / "out" / run
    output.mkdir(parents=True)
    folder = create_run(tmp_path / "state", run)
    folder.save(RunRecord(run=run, recipe="r.yml", output_dir=str(output), created=time.time(), state=state))
    if owner:
        (output / "run.json").write_text(RunRecord(run=owner, recipe="r.yml", output_dir=str(output), created=0.0).model_dump_json())
    return output


def codes(examination) -> list[tuple[str, str]]:
    return [(finding.place, finding.code) for finding in examination.findings if finding.code != "disk-low"]


def test_nothing_is_wrong_with_a_finished_run(tmp_path):
    output = make(tmp_path, "one")
    (output / "events.jsonl").write_text("x" * 1000)
    found = examine(backend(tmp_path))
    assert codes(found) == []
    assert found.disk_bytes["one"] > 1000


def test_a_run_that_says_it_works_without_anybody_at_work_is_lost(tmp_path):
    make(tmp_path, "one", state="training")
    assert codes(examine(backend(tmp_path))) == [("one", "lost")]


def test_missing_and_foreign_output_and_leftovers_are_found(tmp_path):
    make(tmp_path, "gone").joinpath("run.json").unlink()
    (tmp_path / "out" / "gone").rmdir()
    make(tmp_path, "taken", owner="other")
    left = make(tmp_path, "left", state="stopped") / "checkpoints"
    (left / ".staging-1234").mkdir(parents=True)
    (left / "step-00000005").mkdir()
    found = dict(codes(examine(backend(tmp_path))))
    assert found["gone"] == "missing-output"
    assert found["taken"] == "foreign-output"
    assert {code for _, code in codes(examine(backend(tmp_path), "left"))} == {"unsealed", "leftover"}


def test_a_broken_record_and_a_half_made_environment_are_found(tmp_path):
    folder = create_run(tmp_path / "state", "broken")
    folder.record_path.write_text("{")
    (tmp_path / "data" / "runtime-abc").mkdir(parents=True)
    assert [code for _, code in codes(examine(backend(tmp_path)))] == ["bad-record", "half-made-environment"]
    # It can be removed by the command the finding names.
    backend(tmp_path).down("broken", delete=True)
    assert codes(examine(backend(tmp_path)))[0][1] == "half-made-environment"
