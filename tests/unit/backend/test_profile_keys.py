"""Keys of the storage that lie in an AWS profile reach the machine, sealed, and lie nowhere on the way; a resume takes those of its day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.backend.bounds import Bounds
from launcher.backend.job import Job, settled
from launcher.backend.sky.machine import SkyBackend
from launcher.task.envelope import SEALED, unseal
from runtime.checkpoint.directory import DirectoryStore
from runtime.config.load import check_text
from runtime.config.problem import UserError

pytest.importorskip("botocore")

RECIPE = """\
base_model: org/model
learning_rate: 0.0001
datasets: [{path: org/rows, type: alpaca}]
launch: {gpus: A100:8, image: me/run, storage: 's3://bucket/runs', max_cost_usd: 10, recovery: {machines: true}}
"""


class Cloud:
    """Takes managed jobs, notes their secrets as the machine will read them, and cancels when asked."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def require(self) -> None:
        """It is there."""

    def launch_job(self, task: str, *, secrets: dict[str, str], **_: Any) -> int:
        content = yaml.safe_load(task)
        (key,) = (Path(source) for target, source in content["file_mounts"].items() if "/keys/" in target)
        self.told.append({"secrets": unseal(secrets[SEALED], key.read_text()), "envs": content["envs"], "text": task})
        return len(self.told)

    def job(self, number: int) -> Any:
        from launcher.backend.sky.cloud import Seen

        return Seen(phase="cancelled")

    def cancel_job(self, number: int) -> None:
        """Nothing runs."""


def profile(home: Path, key: str, token: str = "") -> None:
    (home / ".aws").mkdir(exist_ok=True)
    lines = ["[default]", f"aws_access_key_id = {key}", "aws_secret_access_key = canary-secret"] + (
        [f"aws_session_token = {token}"] if token else []
    )
    (home / ".aws" / "credentials").write_text("\n".join(lines) + "\n")
    (home / ".aws" / "config").write_text("[default]\nregion = eu-west-3\n")


def test_keys_of_a_profile_travel_and_a_resume_takes_new_ones(tmp_path: Path) -> None:
    profile(tmp_path, "AKIAONE")
    cloud = Cloud()
    backend = SkyBackend(
        state_root=tmp_path / "state",
        environment={"HOME": str(tmp_path)},
        report=lambda line: None,
        cloud=cloud,  # type: ignore[arg-type]
        stores=lambda url: DirectoryStore(tmp_path / "storage"),
    )
    config = check_text(RECIPE, file="r.yml").config
    assert config is not None
    backend.submit(Job(run="calm-otter", recipe="r.yml", config=settled(config, run="calm-otter", cwd=tmp_path), cwd=tmp_path))
    assert cloud.told[0]["secrets"] == {"AWS_ACCESS_KEY_ID": "AKIAONE", "AWS_SECRET_ACCESS_KEY": "canary-secret"}
    assert cloud.told[0]["envs"]["AWS_DEFAULT_REGION"] == "eu-west-3"
    kept = [path for folder in ("state", "storage") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"canary" in path.read_bytes() or b"AKIAONE" in path.read_bytes()]
    assert "canary" not in cloud.told[0]["text"]

    backend.stop("calm-otter")
    profile(tmp_path, "AKIATWO", "token-of-today")
    assert backend.resume("calm-otter", Bounds(max_cost_usd=40.0)).state == "starting"
    assert cloud.told[1]["secrets"] == {
        "AWS_ACCESS_KEY_ID": "AKIATWO",
        "AWS_SECRET_ACCESS_KEY": "canary-secret",
        "AWS_SESSION_TOKEN": "token-of-today",
    }
    assert yaml.safe_load(cloud.told[1]["envs"]["LAUNCHER_CONFIG"])["launch"]["max_cost_usd"] == 40.0
    assert "max_cost_usd: 40.0" in (tmp_path / "state" / "runs" / "calm-otter" / "config.yml").read_text()

    backend.stop("calm-otter")
    (tmp_path / ".aws" / "credentials").unlink()
    with pytest.raises(UserError, match="AWS_ACCESS_KEY_ID"):
        backend.resume("calm-otter")
