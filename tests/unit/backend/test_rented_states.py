"""What a rented run's state is when its own word, its machine's signs of life and SkyPilot's answer disagree."""

from __future__ import annotations

from typing import Any

import pytest

from launcher.backend.node.guard import Limits, hopeless, over
from launcher.backend.node.place import read_place
from launcher.backend.sky.cloud import Rented, Seen
from launcher.backend.sky.examination import examine_rented
from launcher.backend.sky.refusals import refused
from launcher.backend.sky.states import judged, speaks, still_hoped_for
from launcher.backend.sky.submission import Submission
from launcher.state.usage import Life, Usage, lost_time
from runtime.config.problem import ExitCode, UserError
from runtime.record import RunRecord

HOUR = 3600.0


def record(state: str = "training") -> RunRecord:
    return RunRecord(run="r", recipe="r.yml", backend="sky", output_dir="o", created=0.0, state=state)


def life(**given: Any) -> Life:
    return Life(**({"number": 1, "submission": "one", "began": 0.0, "beat": HOUR, "usd_per_h": 10.0} | given))


def limits(**given: Any) -> Limits:
    return Limits(**({"max_cost_usd": None, "max_hours": None, "stall_s": None, "reserve_s": 180.0, "max_fruitless": 2} | given))


def test_the_storage_is_believed_while_its_machine_lives() -> None:
    usage = Usage(lives=[life()])
    assert speaks(record(), usage, submission="one", now=HOUR + 60)
    assert not speaks(record(), usage, submission="one", now=HOUR + 600)
    assert not speaks(record(), usage, submission="two", now=HOUR + 1)
    assert not speaks(record(), Usage(lives=[life(ended=True)]), submission="one", now=HOUR + 1)
    assert speaks(record("done"), Usage(), submission="one", now=9 * HOUR)


@pytest.mark.parametrize(
    ("phase", "lives", "state", "code"),
    [
        ("waiting", 0, "starting", None),
        ("running", 0, "starting", None),
        ("running", 1, "training", None),
        ("recovering", 1, "recovering", None),
        ("starting", 1, "recovering", None),
        ("no-capacity", 0, "failed", ExitCode.NO_CAPACITY),
        ("set-up-failed", 0, "failed", ExitCode.TRAINING_FAILED),
        ("failed", 1, "failed", ExitCode.TRAINING_FAILED),
        ("cancelled", 1, "stopped", ExitCode.INTERRUPTED),
        ("gone", 1, "lost", None),
    ],
)
def test_skypilot_answers_where_the_machine_is_silent(phase: Any, lives: int, state: str, code: ExitCode | None) -> None:
    found = judged(record(), Usage(lives=[life()] * lives), Seen(phase=phase, detail="why"), submission="one")
    assert (found.state, found.exit_code) == (state, code)


def test_the_cap_on_money_counts_every_life_and_leaves_room_to_seal() -> None:
    two = Usage(lives=[life(), life(number=2, began=2 * HOUR, beat=3 * HOUR, submission="two")])
    assert two.usd == 20.0
    assert over(limits(max_cost_usd=20.4), two, submission="two", quiet_s=0) is not None
    assert over(limits(max_cost_usd=20.6), two, submission="two", quiet_s=0) is None
    assert over(limits(max_cost_usd=1.0), Usage(lives=[life(usd_per_h=None)]), submission="one", quiet_s=0) is None


def test_the_cap_on_hours_begins_anew_with_a_resume() -> None:
    two = Usage(lives=[life(), life(number=2, began=2 * HOUR, beat=2.5 * HOUR, submission="two")])
    assert over(limits(max_hours=1.0), two, submission="two", quiet_s=0) is None
    assert "max_hours" in (over(limits(max_hours=1.0), two, submission="one", quiet_s=0) or "")


def test_a_run_that_shows_nothing_is_stopped() -> None:
    assert over(limits(stall_s=600.0), Usage(lives=[life()]), submission="one", quiet_s=599) is None
    assert "nothing happened for 11 min" in (over(limits(stall_s=600.0), Usage(lives=[life()]), submission="one", quiet_s=660) or "")


def test_machines_that_bring_the_run_no_further_are_not_taken_for_ever() -> None:
    steps = [-1, 10, 10, 20, 20, 20]
    lives = [life(number=number, sealed_step=step) for number, step in enumerate(steps)]
    assert Usage(lives=lives).fruitless() == 2
    assert hopeless(limits(max_fruitless=2), Usage(lives=lives)) is None
    assert "gave up after 3 machines" in (hopeless(limits(max_fruitless=2), Usage(lives=[*lives, life(sealed_step=20)])) or "")


def test_time_lost_is_waiting_and_steps_trained_again() -> None:
    def loss(step: int, at: float) -> dict[str, Any]:
        return {"kind": "loss", "step": step, "time": at}

    events = [loss(1, 10), loss(2, 20), loss(3, 30), {"kind": "resumed", "step": 1, "time": 100}, loss(2, 130), loss(3, 140), loss(4, 150)]
    lost = lost_time(events)
    assert (lost.interruptions, lost.waited_s, lost.repeated_s) == (1, 100.0, 10.0)


def test_a_place_takes_its_price_from_where_it_is() -> None:
    environment = {
        "LAUNCHER_RUN": "r",
        "LAUNCHER_CONFIG": "x",
        "LAUNCHER_PRICES": '{"": 30.0, "aws": 20.0, "aws/us-east-1": 10.0}',
        "SKYPILOT_CLUSTER_INFO": '{"cloud": "AWS", "region": "us-east-1", "zone": "us-east-1a"}',
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_TASK_ID": "sky-1",
    }
    place = read_place(environment)
    assert (place.where, place.usd_per_h, place.nodes, place.rank, place.submission) == ("aws/us-east-1/us-east-1a", 10.0, 2, 1, "sky-1")
    assert read_place(environment | {"SKYPILOT_CLUSTER_INFO": '{"cloud": "AWS", "region": "eu"}'}).usd_per_h == 20.0
    assert read_place(environment | {"SKYPILOT_CLUSTER_INFO": "not json"}).usd_per_h == 30.0
    with pytest.raises(UserError, match="LAUNCHER_CONFIG"):
        read_place({"LAUNCHER_RUN": "r"})


class ResourcesUnavailableError(Exception):
    def __init__(self, message: str, history: list[Exception]) -> None:
        super().__init__(message)
        self.failover_history = history


class NoCloudAccessError(Exception):
    """Named as SkyPilot's."""


def test_no_capacity_names_every_place_and_ends_with_four() -> None:
    error = refused(
        ResourcesUnavailableError(
            "\x1b[31mFailed to acquire\x1b[0m", [Exception("us-east-1a: InsufficientInstanceCapacity"), Exception("us-east-1b: quota")]
        ),
        doing="starting the machine",
    )
    assert error.exit_code == ExitCode.NO_CAPACITY
    assert "us-east-1a: InsufficientInstanceCapacity" in str(error)
    assert "us-east-1b: quota" in str(error)
    assert "\x1b" not in str(error)


def test_no_login_says_how_to_get_one_and_ends_with_eight() -> None:
    error = refused(NoCloudAccessError("no cloud is enabled"), doing="starting the machine")
    assert error.exit_code == ExitCode.REMOTE_REFUSED
    assert "sky check" in error.problems[0].fix


def test_what_no_run_needs_is_told_apart_from_what_works() -> None:
    def thing(kind: Any, name: str, number: int | None = None) -> Rented:
        return Rented(kind=kind, name=name, number=number, status="UP", where="aws", usd_per_h=2.0)

    runs = {
        name: record(state).model_copy(update={"run": name})
        for name, state in {"busy": "training", "over": "done", "jobbed": "training"}.items()
    }
    found = examine_rented(
        [
            thing("cluster", "busy"),
            thing("cluster", "over"),
            thing("cluster", "jobbed-7"),
            thing("job", "jobbed", 7),
            thing("cluster", "jobbed-6"),
            thing("cluster", "mine-by-hand"),
            thing("bucket", "skypilot-filemounts-x"),
        ],
        runs,
    )
    assert [one.name for one in found.needed] == ["busy", "jobbed"]
    assert [one.name for one in found.needless] == ["over", "jobbed-6", "skypilot-filemounts-x"]
    assert [one.name for one in found.foreign] == ["mine-by-hand"]
    assert found.usd_per_h == 6.0
    assert "$2.00 an hour" in found.findings[0].message


def test_a_silent_run_of_another_computer_is_lost_only_after_a_while() -> None:
    submission = Submission(id="two", kind="cluster", name="r", submitted=HOUR, task="")
    waiting = still_hoped_for(record("starting"), Usage(lives=[life()]), submission, now=HOUR + 1700)
    assert waiting is not None
    assert (waiting.state, "not spoken yet" in waiting.message) == ("starting", True)
    silent = still_hoped_for(record(), Usage(lives=[life(submission="two", beat=2 * HOUR)]), submission, now=2 * HOUR + 1700)
    assert silent is not None
    assert "nothing is heard" in silent.message
    assert still_hoped_for(record(), Usage(), submission, now=HOUR + 1900) is None
    assert "here" not in submission.for_others()
