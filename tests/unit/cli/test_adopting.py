"""Runs that are found in a storage: one that cannot be read hides no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.backend.sky.submission import FILE, Submission
from launcher.cli.backends import backend_of, known_statuses
from launcher.state.stored_run import StoredRun
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import UserError
from runtime.record import RunRecord


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LAUNCHER_STATE_DIR", str(tmp_path / "state"))
    store = open_store(str(tmp_path / "store"))
    submission = Submission(id="one", kind="cluster", name="good", submitted=1.0, task="")
    for run in ("a-local", "b-submission", "c-half", "good"):
        stored = StoredRun(place=RunStore(store=store, run=run))
        backend = "local" if run == "a-local" else "sky"
        stored.write_record(RunRecord(run=run, recipe="r.yml", backend=backend, output_dir="out", created=1.0, state="stopped"))
        if run != "c-half":
            stored.write_json(FILE, submission.for_others() if run == "good" else {"id": []})
    for run, content in (("d-newer", b'{"schema_version": 9}'), ("e-broken", b"{"), ("f/g", b"")):
        store.put_bytes(f"{run}/run.json", content)
    return str(tmp_path / "store")


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert [status.record.run for status in known_statuses(storage=storage)] == ["good"]
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["a-local", "b-submission", "c-half", "d-newer", "e-broken"]


def test_a_run_on_somebodys_own_computer_is_told_as_one(storage: str) -> None:
    with pytest.raises(UserError, match="a computer of somebody's own") as caught:
        backend_of("a-local", storage=storage)
    assert f"--name a-local --storage {storage}" in caught.value.problems[0].fix
    with pytest.raises(UserError, match="no submission of a run"):
        backend_of("b-submission", storage=storage)
