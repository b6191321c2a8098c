"""Pushes on the way that fail are spoken of once they matter."""

from __future__ import annotations

from runtime.training.pushes import say_failures


def test_the_hubs_failures_are_said_once_and_given_up_pushes_each_time() -> None:
    said: list[str] = []
    for attempt in range(1, 9):
        say_failures(said.append, {"kind": "push_retry", "step": 4, "attempt": attempt, "message": "429, slow down"})
    for kind in ("pushed", "push_failed"):
        say_failures(said.append, {"kind": kind, "step": 4, "message": "the Hub kept failing"})
    assert [line.partition(": ")[2] for line in said] == [
        "the Hub does not take what is pushed: 429, slow down; it is asked again, and training goes on",
        "step 4 was not pushed to the Hub: the Hub kept failing",
    ]
