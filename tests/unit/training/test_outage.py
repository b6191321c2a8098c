"""A store that fails is spoken of once when it matters, and once when it is over."""

from __future__ import annotations

from typing import Any

from runtime.config.problem import Problem, UserError
from runtime.training.outage import Outage, in_words


class Ears:
    """What was said and told, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.outage = Outage(say=self.lines.append, emit=lambda kind, **fields: self.events.append((kind, fields)), clock=lambda: self.now)


def retry(wait_s: float) -> dict[str, Any]:
    return {"kind": "upload_retry", "message": "s3://x: the bucket\n  create it", "wait_s": wait_s}


def test_a_hiccup_is_not_worth_a_word() -> None:
    ears = Ears()
    ears.outage.hear(retry(0.5))
    ears.now += 1
    ears.outage.hear({"kind": "uploaded"})
    assert (ears.lines, ears.events) == ([], [])


def test_an_outage_is_told_when_it_begins_to_matter_and_when_it_ends() -> None:
    ears = Ears()
    for _ in range(5):
        ears.outage.hear(retry(1.0))
        ears.now += 3
    assert ears.events == [("store_failing", {"message": "s3://x: the bucket create it"})]
    assert len(ears.lines) == 1
    ears.outage.hear({"kind": "uploaded"})
    ears.outage.hear({"kind": "uploaded"})
    assert ears.events[1:] == [("store_answers", {"seconds": 15.0})]
    ears.outage.hear(retry(60.0))
    assert [kind for kind, _ in ears.events] == ["store_failing", "store_answers", "store_failing"]


def test_what_does_not_pass_is_told_however_often_uploads_succeed() -> None:
    ears = Ears()
    for lasts in (False, True, True):
        ears.outage.hear({"kind": "prune_failed", "message": "s3://x/a: AccessDenied", "lasts": lasts})
        ears.outage.hear({"kind": "uploaded"})
    assert ears.events == [("store_keeps", {"message": "s3://x/a: AccessDenied"})]
    assert ears.lines == ["warning: checkpoints that are not to be kept stay in the store: s3://x/a: AccessDenied"]
    for _ in range(2):
        ears.outage.hear({"kind": "pruned"})
    assert ears.events[1:] == [("store_deletes", {})]
    ears.lines.pop()
    ears.outage.hear({"kind": "upload_failed", "path": "out/checkpoints/step-00000040", "message": "a.bin is missing"})
    ears.outage.hear({"kind": "fenced", "message": "attempt 2 has taken this run over"})
    assert [line.removeprefix("warning: ") for line in ears.lines[1:]] == [
        "out/checkpoints/step-00000040 is not in the store: a.bin is missing",
        "attempt 2 has taken this run over; this process ends",
    ]


def test_a_start_that_waits_is_part_of_it() -> None:
    ears = Ears()
    patience = ears.outage.patience
    patience.on_retry(ConnectionError("connection refused"), 10.0)
    ears.now += 10
    patience.on_answer()
    assert [kind for kind, _ in ears.events] == ["store_failing", "store_answers"]
    assert "connection refused" in ears.lines[0]


def test_an_error_on_one_line() -> None:
    problem = Problem(code="x", message="no bucket", place="s3://x", fix="make one")
    assert in_words(UserError([problem, problem])) == "s3://x: no bucket make one; s3://x: no bucket make one"
    assert in_words(ConnectionError()) == "ConnectionError"
