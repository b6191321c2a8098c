"""What SkyPilot is told of a run's secrets, and what of this computer's environment it sees meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.backend.sky.client import speaking, unshown
from launcher.backend.sky.handover import Handover
from launcher.backend.sky.submission import Submission
from launcher.state.runs import RunFolder
from launcher.state.stored_run import StoredRun
from launcher.task.envelope import SEALED, unseal
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.stored import RunStore
from runtime.config.problem import UserError
from runtime.record import RunRecord


class Cloud:
    """Notes what it is told; refuses or is interrupted when told so."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure, self.told = failure, {}

    def launch_cluster(self, task: str, **told: Any) -> int:
        self.told = told | {"task": yaml.safe_load(task)}
        for source in self.told["task"]["file_mounts"].values():
            self.told["key"], self.told["mode"] = Path(source).read_text(), stat.S_IMODE(Path(source).stat().st_mode)
        if self.failure is not None:
            raise self.failure
        return 3


def give(tmp_path: Path, cloud: Cloud, report: Callable[[str], None] = lambda line: None) -> RunFolder:
    folder = RunFolder(path=tmp_path / "runs" / "r")
    folder.path.mkdir(parents=True, exist_ok=True)
    record = RunRecord(run="r", recipe="r.yml", backend="sky", output_dir=str(tmp_path / "o"), storage="s3://x", created=0.0)
    submission = Submission(
        id="one", kind="cluster", name="r", submitted=0.0, task="secrets: {TOKEN: null}\n", secrets=["TOKEN", "SKYPILOT_DOCKER_PASSWORD"]
    )
    environment = {"TOKEN": "canary", "SKYPILOT_DOCKER_PASSWORD": "pw", "OTHER": "x"}
    stored = StoredRun(place=RunStore(store=DirectoryStore(tmp_path / "storage"), run="r"))
    handover = Handover(cloud=cloud, environment=environment, report=report)  # type: ignore[arg-type]
    handover.give(folder, stored, record, submission)
    return folder


def test_skypilot_is_told_secrets_it_cannot_read(tmp_path: Path) -> None:
    cloud = Cloud()
    folder = give(tmp_path, cloud)
    assert cloud.told["secrets"].keys() == cloud.told["task"]["secrets"].keys() == {SEALED, "SKYPILOT_DOCKER_PASSWORD"}
    assert "canary" not in str(cloud.told)
    assert unseal(cloud.told["secrets"][SEALED], cloud.told["key"]) == {"TOKEN": "canary"}
    assert cloud.told["mode"] == 0o600
    assert cloud.told["task"]["file_mounts"] == {"~/.launcher/keys/one": str(folder.path / "secrets.key")}
    # Another machine may need it; the end of the run removes it.
    assert (folder.path / "secrets.key").exists()


def test_a_refused_submission_leaves_no_key_and_an_interrupted_one_says_what_may_go_on(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        give(tmp_path, Cloud(UserError([])))
    assert not list(tmp_path.rglob("*.key"))
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        give(tmp_path, Cloud(KeyboardInterrupt()), said.append)
    assert "`launcher down r` ends it" in said[-1]
    assert list(tmp_path.rglob("*.key"))


def test_what_is_not_skypilots_business_is_not_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    monkeypatch.setenv("TOKEN", "canary")
    with speaking("asking", hidden=["TOKEN"]):
        assert not {"HF_TOKEN", "TOKEN"} & os.environ.keys()
    assert os.environ["HF_TOKEN"] == os.environ["TOKEN"] == "canary"
    with pytest.raises(UserError), speaking("asking", hidden=["TOKEN"]):
        raise SystemExit(1)
    assert os.environ["TOKEN"] == "canary"


def test_keys_of_amazon_are_shown_unless_they_are_another_stores() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    assert unshown(keys, hidden=list(keys)) == []
    assert unshown(keys | {"AWS_ENDPOINT_URL": "https://r2"}) == sorted(keys)
