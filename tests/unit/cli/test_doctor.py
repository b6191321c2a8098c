"""`launcher doctor` looks at rented machines where a run on them is known, and at this computer whatever SkyPilot says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from launcher.backend.sky.cloud import Rented
from launcher.cli.app import main
from launcher.state.runs import create_run
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import RunRecord

FOUND = [
    Rented(kind="cluster", name="far-run", number=None, status="UP", where="aws/us-east-1", usd_per_h=3.0),
    Rented(kind="cluster", name="other", number=None, status="UP", where="aws/us-east-1", usd_per_h=1.0),
]


class Cloud:
    """SkyPilot, as far as the doctor asks it."""

    refuses = False

    def rented(self) -> list[Rented]:
        if self.refuses:
            raise UserError(Problem(code="no-server", message="nobody answers", place="SkyPilot"), exit_code=ExitCode.REMOTE_REFUSED)
        return FOUND


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words, "--json"])
    return int(ended.value.code or 0), json.loads(capsys.readouterr().out)


@pytest.fixture(autouse=True)
def far_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUNCHER_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("launcher.backend.sky.skypilot.SkyPilot", Cloud)
    for name, backend in (("far-run", "sky"), ("near-run", "local")):
        record = RunRecord(
            run=name, recipe="r.yml", backend=backend, output_dir=str(tmp_path / name), created=1.0, state="stopped", exit_code=6
        )
        # Nobody knows what became of it: its storage cannot be reached.
        create_run(tmp_path, name).save(record.model_copy(update={"storage": "ftp://nowhere"}) if backend == "sky" else record)


def test_what_a_run_may_need_is_not_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = doctor(capsys)
    assert code == 0
    assert [thing["name"] for thing in said["data"]["rented"]["needed"]] == ["far-run"]
    assert [thing["name"] for thing in said["data"]["rented"]["foreign"]] == ["other"]
    assert said["data"]["rented"]["needless"] == []


def test_one_run_is_looked_at_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    _, said = doctor(capsys, "far")
    assert [thing["name"] for thing in said["data"]["rented"]["needed"]] == ["far-run"]
    assert said["data"]["rented"]["foreign"] == []
    _, said = doctor(capsys, "near-run")
    assert (said["data"]["runs"], said["data"]["rented"]) == (["near-run"], None)


def test_skypilots_silence_hides_nothing_of_this_computer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cloud, "refuses", True)
    code, said = doctor(capsys)
    assert (code, said["data"]["runs"], said["data"]["rented"]) == (0, ["near-run"], None)
    assert [warning["code"] for warning in said["warnings"]] == ["no-server"]
    code, said = doctor(capsys, "--rented")
    assert (code, said["error"]["code"]) == (8, "no-server")
