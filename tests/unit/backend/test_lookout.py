"""What this computer finds out about runs that another one submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher.backend.sky.adoption import adopt, catch_up
from launcher.backend.sky.cloud import Seen
from launcher.backend.sky.lookout import Lookout
from launcher.backend.sky.storages import Storages
from launcher.backend.sky.submission import FILE, Submission, read_submission, write_submission
from launcher.state.runs import RunFolder
from launcher.state.stored_run import LOG, StoredRun, StoredText
from launcher.state.usage import Life, Usage, read_usage
from runtime.checkpoint.directory import DirectoryStore
from runtime.config.problem import Problem, UserError
from runtime.record import RunRecord

NOW = 10_000.0


class Cloud:
    """Knows `jobs` by name, and says that each of them runs."""

    def __init__(self, jobs: dict[str, int] | None = None, failure: UserError | None = None, phase: Any = "running") -> None:
        self.jobs, self.failure, self.asked, self.phase = jobs or {}, failure, [], phase

    def find_job(self, name: str) -> int | None:
        if self.failure is not None:
            raise self.failure
        return self.jobs.get(name)

    def job(self, number: int) -> Seen:
        self.asked.append(number)
        return Seen(phase=self.phase)

    def printed(self, name: str, number: int | None, *, managed: bool) -> str:
        return f"why {name} {number} failed\n"


def world(tmp_path: Path, cloud: Cloud, **given: Any) -> tuple[Lookout, RunFolder, StoredRun]:
    store = DirectoryStore(tmp_path / "storage")
    storages = Storages(stores=lambda url: store)
    stored = storages.at("s3://x", "r")
    stored.write_record(RunRecord(run="r", recipe="r.yml", backend="sky", output_dir="o", storage="s3://x", created=0.0, state="starting"))
    submission = Submission(**({"id": "one", "kind": "job", "name": "r", "number": 3, "submitted": NOW - 60, "task": ""} | given))
    stored.write_json(FILE, submission.for_others())
    lookout = Lookout(storages=storages, cloud=cloud, clock=lambda: NOW, look_s=0.0, ask_s=0.0)  # type: ignore[arg-type]
    return lookout, adopt(tmp_path, stored, storage="s3://x", run="r"), stored


def test_a_number_of_another_computer_is_no_job_of_this_one(tmp_path: Path) -> None:
    cloud = Cloud()
    lookout, folder, _ = world(tmp_path, cloud)
    assert lookout.number(read_submission(folder.path)) is None
    assert "not spoken yet" in lookout.now(folder).message
    assert cloud.asked == []
    # An API server that both computers use does know the job.
    cloud.jobs = {"r": 8}
    assert "being set up" in lookout.now(folder).message
    assert cloud.asked == [8]


def test_the_computer_that_submitted_asks_by_number(tmp_path: Path) -> None:
    cloud = Cloud()
    lookout, folder, _ = world(tmp_path, cloud)
    write_submission(folder.path, read_submission(folder.path).model_copy(update={"here": True}))
    lookout.now(folder)
    assert cloud.asked == [3]


def test_what_the_machines_used_is_kept_here_for_later_plans(tmp_path: Path) -> None:
    lookout, folder, stored = world(tmp_path, Cloud())
    usage = Usage(lives=[Life(number=1, submission="one", where="aws/us-east-1", began=NOW - 7200, beat=NOW)])
    stored.write_usage(usage)
    assert read_usage(folder.path) is None
    lookout.now(folder)
    assert read_usage(folder.path) == usage


def test_why_a_machine_could_not_be_set_up_is_in_the_runs_log(tmp_path: Path) -> None:
    lookout, folder, stored = world(tmp_path, Cloud(phase="set-up-failed"))
    write_submission(folder.path, read_submission(folder.path).model_copy(update={"here": True}))
    assert lookout.now(folder).state == "failed"
    assert lookout.now(folder).state == "failed"
    assert StoredText(place=stored.place, name=LOG).rest() == "why r 3 failed\n"


def test_without_skypilot_a_run_of_another_computer_is_still_told_of(tmp_path: Path) -> None:
    lookout, folder, _ = world(tmp_path, Cloud(failure=UserError(Problem(code="not-installed", message="no SkyPilot", fix="install it"))))
    assert lookout.now(folder).state == "starting"
    write_submission(folder.path, read_submission(folder.path).model_copy(update={"here": True, "number": None}))
    with pytest.raises(UserError, match="no SkyPilot"):
        lookout.now(folder)


def test_a_resume_elsewhere_is_known_here_from_then_on(tmp_path: Path) -> None:
    _, folder, stored = world(tmp_path, Cloud())
    newer = read_submission(folder.path).model_copy(update={"id": "two", "submitted": NOW})
    stored.write_json(FILE, newer.for_others())
    assert catch_up(folder, stored).id == "two"
    assert read_submission(folder.path).id == "two"
    stored.write_json(FILE, newer.model_copy(update={"id": "zero", "submitted": 1.0}).for_others())
    assert catch_up(folder, stored).id == "two"
