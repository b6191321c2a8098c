"""New limits of a run that goes on."""

from pathlib import Path

import pytest
import yaml

from launcher.backend.bounds import Bounds
from launcher.backend.sky.renewal import refuse_spent, renewed
from launcher.backend.sky.submission import Submission
from launcher.state.runs import RunFolder
from launcher.state.usage import Life, Usage
from runtime.config.problem import ExitCode, UserError

CONFIG = "base_model: org/model\nlearning_rate: 0.001\ndatasets:\n- path: org/rows\n  type: alpaca\nlaunch:\n  max_cost_usd: 10.0\n  name: calm-otter\n"


def task(text: str = CONFIG) -> str:
    return yaml.safe_dump({"name": "calm-otter", "envs": {"LAUNCHER_CONFIG": text, "OTHER": "x"}, "run": "echo 'é'\n"}, sort_keys=False)


def submission(text: str = "") -> Submission:
    return Submission(id="1-a", kind="job", name="calm-otter", number=7, submitted=1.0, task=text or task(), secrets=["HF_TOKEN"])


def used(hours: float, usd_per_h: float = 10.0) -> Usage:
    return Usage(lives=[Life(number=1, began=0.0, beat=hours * 3600, usd_per_h=usd_per_h, submission="1-a")])


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "config.yml").write_text(CONFIG)
    return RunFolder(path=tmp_path)


def test_new_limits_are_laid_over_the_config_and_nothing_else_changes() -> None:
    bounds = Bounds(max_cost_usd=25.0, max_hours=3.0)
    before, after = yaml.safe_load(CONFIG), yaml.safe_load(bounds.over_config(CONFIG))
    assert after.pop("launch") == {"max_cost_usd": 25.0, "name": "calm-otter", "max_hours": 3.0}
    before.pop("launch")
    assert after == before
    there = yaml.safe_load(bounds.over_task(task()))
    assert yaml.safe_load(there["envs"].pop("LAUNCHER_CONFIG"))["launch"]["max_cost_usd"] == 25.0
    assert there == {"name": "calm-otter", "envs": {"OTHER": "x"}, "run": "echo 'é'\n"}
    assert yaml.safe_load(bounds.over_config("base_model: x\n"))["launch"] == {"max_cost_usd": 25.0, "max_hours": 3.0}


def test_without_new_limits_the_text_stays_as_it_is() -> None:
    assert Bounds().over_config(CONFIG) is CONFIG
    assert Bounds().over_task("anything") == "anything"


def test_a_run_that_has_spent_what_it_may_needs_a_higher_cap(folder: RunFolder) -> None:
    refuse_spent(folder, used(hours=0.5), Bounds())
    with pytest.raises(UserError, match=r"max_cost_usd = 10: \$9\.99 spent") as caught:
        refuse_spent(folder, used(hours=0.999), Bounds())
    assert caught.value.exit_code == ExitCode.REFUSED
    assert caught.value.problems[0].fix.endswith(f"launcher resume {folder.run} --max-cost USD")
    # What was spent before counts under the new cap too.
    with pytest.raises(UserError, match="max_cost_usd = 9"):
        refuse_spent(folder, used(hours=0.999), Bounds(max_cost_usd=9.0))
    refuse_spent(folder, used(hours=0.999), Bounds(max_cost_usd=20.0))
    # Hours begin anew with each submission.
    refuse_spent(folder, used(hours=0.5), Bounds(max_hours=0.25))


def test_the_next_submission_has_an_id_of_its_own_and_the_new_limits() -> None:
    before = submission()
    fresh = renewed(before, bounds=Bounds(max_hours=2.0), storage="gs://bucket", environment={"HF_TOKEN": "t"}, now=5.0)
    assert (fresh.number, fresh.submitted, fresh.secrets) == (None, 5.0, ["HF_TOKEN"])
    assert fresh.id != before.id
    assert "max_hours: 2.0" in yaml.safe_load(fresh.task)["envs"]["LAUNCHER_CONFIG"]
    with pytest.raises(UserError, match="HF_TOKEN"):
        renewed(before, bounds=Bounds(), storage="gs://bucket", environment={}, now=5.0)
