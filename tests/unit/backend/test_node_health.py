"""A container is well as long as somebody attends to its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.backend.node.health import health
from launcher.state.runs import RunFolder
from runtime.record import RunRecord, RunState


def known(home: Path, state: RunState) -> None:
    folder = RunFolder(path=home / "state" / "runs" / "calm-otter")
    folder.path.mkdir(parents=True)
    folder.save(RunRecord(run="calm-otter", recipe="r.yml", output_dir=str(home / "out"), created=1.0, state=state))


def test_no_run_is_well(tmp_path: Path) -> None:
    assert health(tmp_path, {}) == 0


@pytest.mark.parametrize(("state", "status"), [("done", 0), ("training", 1)])
def test_a_run_without_its_supervisor_is_not(state: RunState, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known(tmp_path, state)
    assert health(tmp_path, {}) == status
    assert ("calm-otter is lost" in capsys.readouterr().err) == bool(status)
