"""The cloud is found by asking, and listened to through every failure, without anything waiting for it."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.events import EventLog, read_events
from runtime.training.folder import RunFolder
from runtime.training.job import Job, Surroundings
from runtime.training.preemption.choice import ENDPOINT, VARIABLE, find_source, wished
from runtime.training.preemption.metadata import MetadataService
from runtime.training.preemption.source import CannotHearError, Sign
from runtime.training.preemption.watching import watch, watching
from runtime.training.processes import Rank
from runtime.training.progress import Progress
from runtime.training.stop import Notice, StopNow, StopRequest

PREEMPT = Sign(kind="preempt", reason="gone", deadline_at=5.0)
HINT = Sign(kind="hint", reason="perhaps")


class Told:
    """A source that says what it is told to; an exception is raised."""

    name = "told"
    pause_s = 1.0

    def __init__(self, *says: Any) -> None:
        self._says = list(says)

    def is_here(self, timeout_s: float) -> bool:
        return True

    def next_sign(self) -> Sign | None:
        found = self._says.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def listen(*says: Any) -> tuple[list[Sign], list[str], list[float]]:
    """Signs, words and pauses of a watch over what a source says, to its end."""
    signs: list[Sign] = []
    words: list[str] = []
    pauses: list[float] = []
    source = Told(*says)

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return not source._says

    watch(source, on_sign=signs.append, say=words.append, wait=wait)
    return signs, words, pauses


def test_a_preemption_ends_the_watch_and_a_hint_does_not() -> None:
    assert listen(None, HINT, None, PREEMPT, HINT) == ([HINT, PREEMPT], [], [1.0, 1.0, 1.0])


def test_failures_are_survived_with_growing_pauses_and_said_once() -> None:
    signs, words, pauses = listen(*[OSError("answered 500")] * 7, None, PREEMPT)
    assert signs == [PREEMPT]
    assert pauses[:4] == [2.0, 4.0, 5.0, 5.0]
    assert pauses[7] == 1.0
    assert [("500" in word, "again" in word) for word in words] == [(True, False), (False, True)]


def test_an_answer_that_is_wrong_in_a_way_nobody_foresaw_does_not_end_the_watch() -> None:
    assert listen(ValueError("no header"), TypeError("unhashable"), PREEMPT)[0] == [PREEMPT]


def test_a_single_failure_is_not_worth_a_word() -> None:
    assert listen(OSError("x"), None, PREEMPT)[1] == []


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_the_cloud_is_found_by_asking(cloud: str, request: pytest.FixtureRequest) -> None:
    source = find_source("auto", MetadataService(request.getfixturevalue(cloud).endpoint), say=pytest.fail)
    assert source is not None
    assert source.name == cloud


def test_a_busy_service_gets_a_second_chance(aws: Any) -> None:
    aws.faults = [aws.stalls, aws.stalls]
    source = find_source("auto", MetadataService(aws.endpoint), say=pytest.fail)
    assert source is not None
    assert source.name == "aws"


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_a_service_that_says_it_is_busy_is_asked_again(cloud: str, request: pytest.FixtureRequest, answers: Any) -> None:
    service, pauses = request.getfixturevalue(cloud), []
    service.faults = [answers(503)] * 4
    source = find_source("auto", MetadataService(service.endpoint), say=pytest.fail, pause=pauses.append)
    assert source is not None
    assert source.name == cloud
    assert pauses


def test_a_page_to_log_in_on_is_no_cloud(aws: Any, answers: Any) -> None:
    aws.faults = [answers(200, b"<html>\n<body>log in</body>\n</html>")] * 9
    assert find_source("auto", MetadataService(aws.endpoint), say=pytest.fail) is None


def test_off_a_cloud_there_is_nothing_to_listen_to(aws: Any) -> None:
    aws.server.shutdown()
    aws.server.server_close()
    assert find_source("auto", MetadataService(aws.endpoint), say=pytest.fail) is None


def test_what_keeps_a_source_from_being_heard_is_said(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.training.preemption.aws import AwsSpot

    def deaf(self: AwsSpot, timeout_s: float) -> bool:
        raise CannotHearError("hop limit")

    monkeypatch.setattr(AwsSpot, "is_here", deaf)
    words: list[str] = []
    assert find_source("auto", MetadataService(aws.endpoint), say=words.append) is None
    assert words == ["hop limit"]


def test_a_named_cloud_is_not_asked_whether_it_is_there(aws: Any) -> None:
    source = find_source("gcp", MetadataService(aws.endpoint), say=pytest.fail)
    assert source is not None
    assert (source.name, aws.asked) == ("gcp", [])


@pytest.mark.parametrize("variables", [{VARIABLE: "ibm"}, {ENDPOINT: "127.0.0.1:80"}, {ENDPOINT: "https://x"}])
def test_variables_that_mean_nothing_are_refused(variables: dict[str, str]) -> None:
    with pytest.raises(UserError) as caught:
        wished(variables)
    assert caught.value.problems[0].place in variables
    assert caught.value.problems[0].fix


def job(tmp_path: Path, stop: StopRequest, *, local: int = 0, **notices: str) -> Job:
    return Job(
        config=None,
        surroundings=Surroundings(notices=notices),
        rank=Rank(index=local, local=local, world_size=local + 1),
        folder=RunFolder(path=tmp_path),
        progress=Progress(speaks=False),
        events=EventLog(tmp_path / "events.jsonl"),
        stop=stop,
    )


class Heard(StopRequest):
    """Notes that it was warned."""

    def __init__(self) -> None:
        super().__init__()
        self.warned = threading.Event()

    def warn(self, notice: Notice) -> None:
        super().warn(notice)
        self.warned.set()


def test_a_notice_asks_the_run_to_stop_and_a_hint_to_save(aws: Any, tmp_path: Path) -> None:
    stop = Heard()
    # Both clocks are right; the moment that is told is long past.
    aws.now = time.time()
    aws.rebalance, aws.action = {"noticeTime": "2023-11-14T22:13:00Z"}, None
    from runtime.training.preemption.aws import AwsSpot

    pause, AwsSpot.pause_s = AwsSpot.pause_s, 0.01
    try:
        with watching(job(tmp_path, stop, **{VARIABLE: "aws", ENDPOINT: aws.endpoint})):
            while not stop.save_soon:
                assert not stop.warned.wait(0.01)
            aws.action = {"action": "terminate", "time": "2023-11-14T22:15:20Z"}
            assert stop.warned.wait(10)
    finally:
        AwsSpot.pause_s = pause
    assert stop.notice == Notice(kind="preempt", deadline_at=1_700_000_120.0, reason="Amazon takes this spot machine away (terminate)")
    kinds = [event["kind"] for event in read_events(tmp_path / "events.jsonl")]
    assert kinds == ["preemption_watch", "preemption_hint"]


@pytest.mark.parametrize(("local", "name"), [(1, "aws"), (0, "none")])
def test_only_the_first_process_of_a_machine_asks_and_only_if_it_should(aws: Any, tmp_path: Path, local: int, name: str) -> None:
    before = threading.active_count()
    with watching(job(tmp_path, StopRequest(), local=local, **{VARIABLE: name, ENDPOINT: aws.endpoint})):
        assert threading.active_count() == before
    assert aws.asked == []


def test_a_warning_while_training_is_noted() -> None:
    stop = StopRequest()
    stop.deferred = True
    stop.warn(Notice(kind="preempt", deadline_at=9.0))
    assert stop.requested
    assert stop.why(None).deadline_at == 9.0


def test_a_warning_before_training_interrupts_the_main_thread() -> None:
    stop = StopRequest()
    before = signal.signal(signal.SIGTERM, stop.on_signal)
    try:
        warning = threading.Timer(0.05, stop.warn, args=(Notice(kind="preempt", reason="spot"),))
        warning.start()
        with pytest.raises(StopNow):
            threading.Event().wait(10)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stop.why(None).reason == "spot"


def test_the_clouds_own_signal_after_its_notice_is_no_second_request() -> None:
    left: list[int] = []
    now = [0.0]
    stop = StopRequest(clock=lambda: now[0], leave=left.append)
    stop.deferred = True
    stop.warn(Notice(kind="preempt", deadline_at=9.0))
    now[0] = 30.0
    stop.on_signal(signal.SIGTERM, None)
    assert left == []
    now[0] = 40.0
    stop.on_signal(signal.SIGTERM, None)
    assert left == [6]


def test_a_warning_tightens_a_plain_request() -> None:
    stop = StopRequest()
    stop.deferred = True
    stop.on_signal(signal.SIGTERM, None)
    stop.warn(Notice(kind="preempt", deadline_at=9.0))
    stop.warn(Notice(kind="preempt", deadline_at=20.0))
    assert stop.why(None).deadline_at == 9.0


def test_an_own_process_is_not_signalled_without_a_handler() -> None:
    stop = StopRequest()
    assert signal.getsignal(signal.SIGTERM) != stop.on_signal
    stop.warn(Notice(kind="preempt"))
    assert stop.requested
