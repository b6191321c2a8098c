"""Each cloud's notice is understood as the cloud gives it, and nothing else is taken for one."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from runtime.training.preemption.aws import AwsSpot
from runtime.training.preemption.azure import AzureSpot
from runtime.training.preemption.gcp import GcpSpot
from runtime.training.preemption.metadata import MetadataService
from runtime.training.preemption.source import CannotHearError, Sign

TAKEN = {"action": "terminate", "time": "2023-11-14T22:15:20Z"}
TAKEN_AT = 1_700_000_120.0
MOVED = {"noticeTime": "2023-11-14T22:13:00Z"}


def of_aws(aws: Any) -> AwsSpot:
    return AwsSpot(MetadataService(aws.endpoint), clock=aws.clock)


def test_amazon_says_nothing_until_it_takes_the_machine(aws: Any) -> None:
    source = of_aws(aws)
    assert [source.next_sign(), source.next_sign()] == [None, None]
    aws.action = TAKEN
    sign = source.next_sign()
    assert sign is not None
    assert (sign.kind, sign.deadline_at) == ("preempt", TAKEN_AT)
    assert "terminate" in sign.reason


def test_amazons_token_is_taken_once_and_renewed_before_it_ends(aws: Any) -> None:
    source = of_aws(aws)
    for _ in range(5):
        source.next_sign()
    assert len(aws.tokens) == 1
    aws.clock.now += 21600 - 30
    source.next_sign()
    assert len(aws.tokens) == 2


def test_a_token_that_amazon_forgets_is_renewed_within_the_question(aws: Any) -> None:
    source = of_aws(aws)
    source.next_sign()
    aws.tokens.clear()
    aws.action = TAKEN
    sign = source.next_sign()
    assert sign is not None
    assert sign.kind == "preempt"


def test_amazons_recommendation_to_move_is_one_hint(aws: Any) -> None:
    source = of_aws(aws)
    aws.rebalance = MOVED
    signs = [source.next_sign() for _ in range(3)]
    assert [sign and sign.kind for sign in signs] == ["hint", None, None]
    aws.rebalance = {"noticeTime": "2023-11-14T22:14:00Z"}
    assert source.next_sign() is not None
    aws.action = TAKEN
    assert source.next_sign() == Sign(kind="preempt", reason="Amazon takes this spot machine away (terminate)", deadline_at=TAKEN_AT)


@pytest.mark.parametrize(
    ("action", "left"),
    [
        ({"action": "stop", "time": "soon"}, 120.0),
        ({"action": "terminate"}, 120.0),
        ({"action": "hibernate"}, 0.0),
        ({"action": "stop", "time": "2023-11-14T22:13:50"}, 30.0),
    ],
)
def test_a_notice_of_amazons_without_a_readable_time_still_counts(aws: Any, action: dict[str, str], left: float) -> None:
    aws.action = action
    sign = of_aws(aws).next_sign()
    assert sign is not None
    assert sign.deadline_at == aws.clock.now + left


@pytest.mark.parametrize("off_s", [-7200.0, -50.0, 2.0, 50.0, 7200.0])
def test_a_clock_that_is_wrong_moves_no_deadline(aws: Any, azure: Any, off_s: float) -> None:
    """What is left is what the cloud's own clock says, within the second that it tells."""
    aws.clock.now += off_s
    aws.action, azure.events = TAKEN, [event("Preempt")]
    signs = [of_aws(aws).next_sign(), AzureSpot(MetadataService(azure.endpoint), clock=aws.clock).next_sign()]
    left = [sign.deadline_at - aws.clock.now for sign in signs if sign is not None and sign.deadline_at is not None]
    assert left == [pytest.approx(120.0, abs=3.0), pytest.approx(40.0, abs=3.0)]


@pytest.mark.parametrize("content", [b"", b"<html>log in here</html>", b"[]", b'{"action": "dance"}', b'{"action": "termi'])
def test_what_is_no_notice_is_not_taken_for_amazons(aws: Any, content: bytes) -> None:
    aws.action = content
    with pytest.raises(OSError, match=r"JSON|unknown action"):
        of_aws(aws).next_sign()


def test_amazons_first_version_serves_where_no_token_arrives(aws: Any) -> None:
    aws.version_1, aws.faults = True, [aws.stalls]
    source = of_aws(aws)
    assert source.is_here(0.1)
    aws.action = TAKEN
    sign = source.next_sign()
    assert sign is not None
    assert not aws.tokens


def test_a_container_that_amazons_token_does_not_reach_is_told_what_to_do(aws: Any) -> None:
    aws.faults = [aws.stalls]
    with pytest.raises(CannotHearError, match="hop limit of 2"):
        of_aws(aws).is_here(0.1)


def test_google_is_heard_while_the_question_hangs(gcp: Any) -> None:
    source = GcpSpot(MetadataService(gcp.endpoint), clock=lambda: 1000.0)
    assert source.next_sign() is None
    heard: list[Sign | None] = []
    asking = threading.Thread(target=lambda: heard.append(source.next_sign()))
    asking.start()
    assert gcp.hanging.wait(10)
    gcp.set("preempted", "TRUE")
    asking.join(10)
    assert [(sign.kind, sign.deadline_at) for sign in heard if sign is not None] == [("preempt", 1030.0)]


def test_a_preemption_before_the_first_question_to_google_is_heard(gcp: Any) -> None:
    gcp.set("preempted", "TRUE")
    sign = GcpSpot(MetadataService(gcp.endpoint)).next_sign()
    assert sign is not None
    assert not gcp.hanging.is_set()


def test_a_change_between_two_questions_to_google_does_not_wait(gcp: Any) -> None:
    source = GcpSpot(MetadataService(gcp.endpoint))
    source.next_sign()
    gcp.set("preempted", "TRUE")
    began = time.monotonic()
    sign = source.next_sign()
    assert sign is not None
    assert time.monotonic() - began < 10


def test_googles_maintenance_that_ends_the_machine_is_one_hint(gcp: Any) -> None:
    source = GcpSpot(MetadataService(gcp.endpoint))
    gcp.set("maintenance-event", "MIGRATE_ON_HOST_MAINTENANCE")
    assert source.next_sign() is None
    gcp.set("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE")
    sign = source.next_sign()
    assert sign is not None
    assert (sign.kind, sign.deadline_at) == ("hint", None)
    gcp.set("preempted", "TRUE")
    again = source.next_sign()
    assert again is not None
    assert again.kind == "preempt"


def test_googles_maintenance_that_cannot_be_asked_for_hides_no_preemption(gcp: Any, fault: Any) -> None:
    gcp.set("preempted", "TRUE")
    gcp.faults = [fault]
    sign = GcpSpot(MetadataService(gcp.endpoint)).next_sign()
    assert sign is not None
    assert sign.kind == "preempt"


def test_an_answer_without_googles_mark_is_not_believed(gcp: Any) -> None:
    from http.server import BaseHTTPRequestHandler

    def impostor(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "4")
        request.end_headers()
        request.wfile.write(b"TRUE")

    gcp.faults = [impostor, impostor]
    with pytest.raises(OSError, match="does not come from Google"):
        GcpSpot(MetadataService(gcp.endpoint)).next_sign()


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {
        "EventId": f"id-{kind}",
        "EventStatus": "Scheduled",
        "EventType": kind,
        "ResourceType": "VirtualMachine",
        "Resources": ["node-3"],
        "NotBefore": "Tue, 14 Nov 2023 22:14:00 GMT",
    } | fields


def of_azure(azure: Any) -> AzureSpot:
    return AzureSpot(MetadataService(azure.endpoint), clock=lambda: 1_700_000_000.0)


@pytest.mark.parametrize(
    ("fields", "deadline"),
    [
        ({}, 1_700_000_040.0),
        ({"NotBefore": "2023-11-14T22:14:00Z"}, 1_700_000_040.0),
        ({"EventStatus": "Started", "NotBefore": ""}, 1_700_000_000.0),
        ({"NotBefore": ""}, 1_700_000_030.0),
        ({"NotBefore": "some day"}, 1_700_000_030.0),
        ({"Resources": []}, 1_700_000_040.0),
        ({"Resources": ["Node-3"]}, 1_700_000_040.0),
    ],
)
def test_microsoft_takes_the_machine(azure: Any, fields: dict[str, Any], deadline: float) -> None:
    source = of_azure(azure)
    assert source.next_sign() is None
    azure.events = [event("Freeze"), event("Preempt", **fields)]
    sign = source.next_sign()
    assert sign is not None
    assert (sign.kind, sign.deadline_at) == ("preempt", deadline)


@pytest.mark.parametrize(
    "events",
    [
        [],
        [event("Freeze")],
        [event("Preempt", Resources=["node-4"])],
        ["Preempt"],
        [event("Preempt") | {"EventType": {}}],
        {"EventType": "Preempt"},
        None,
    ],
)
def test_what_does_not_end_this_machine_is_passed_over(azure: Any, events: Any) -> None:
    azure.events = events
    assert of_azure(azure).next_sign() is None


def test_microsofts_restart_is_one_hint(azure: Any) -> None:
    source = of_azure(azure)
    azure.events = [event("Redeploy")]
    signs = [source.next_sign() for _ in range(2)]
    assert [sign and sign.kind for sign in signs] == ["hint", None]


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_a_service_that_fails_raises_oserror_and_is_understood_afterwards(cloud: str, fault: Any, request: pytest.FixtureRequest) -> None:
    service = request.getfixturevalue(cloud)
    source = {"aws": AwsSpot, "gcp": GcpSpot, "azure": AzureSpot}[cloud](MetadataService(service.endpoint))
    source.is_here(5)
    # Google is asked for a hint first, which may fail.
    service.faults = [fault] * (2 if cloud == "gcp" else 1)
    with pytest.raises(OSError, match=r"answered|cut off|proper|closed|reset|Closed|Reset"):
        source.next_sign()
    assert source.next_sign() is None


def test_a_service_that_is_gone_raises_oserror(aws: Any) -> None:
    source = of_aws(aws)
    source.next_sign()
    aws.server.shutdown()
    aws.server.server_close()
    with pytest.raises(OSError, match="refused"):
        source.next_sign()


def test_a_slow_service_is_given_up(aws: Any) -> None:
    aws.faults = [aws.stalls]
    with pytest.raises(TimeoutError):
        MetadataService(aws.endpoint).ask("/latest/meta-data/", {}, timeout_s=0.1)


def test_no_proxy_is_asked(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert MetadataService(aws.endpoint).ask("/latest/meta-data/", {}, timeout_s=5).status == 401
