"""How the processes of a run end when one of them does: all for its reason, soon, whatever they were waiting for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from boards import MemoryBoard

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.training.failure import LOST, explain
from runtime.training.vigil import Machine, Vigil

LONG_S = 20.0
FULL = UserError(Problem(code="disk-full", message="the disk is full", fix="make room"), exit_code=ExitCode.TRAINING_FAILED)
CUT_OFF = explain(RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711"))


class Fleet:
    """Two processes on a machine each; `left` is how the watch of each ended it."""

    def __init__(self) -> None:
        self.board = MemoryBoard()
        self.left: dict[int, UserError] = {}
        self.gone = threading.Event()
        self.said: list[str] = []
        self.vigils: list[Vigil] = []

    def watch(self, index: int, **options: Any) -> Vigil:
        def leave(failure: UserError) -> None:
            self.left[index] = failure
            self.gone.set()

        settings = {"patience_s": 1e9, "poll_s": 0.005, "grace_s": LONG_S, "word_s": 0.05} | options
        machine = Machine(index=index, count=2, speaks=True)
        vigil = Vigil(self.board, index=index, count=2, machine=machine, leave=leave, say=self.said.append, **settings)
        self.vigils.append(vigil)
        return vigil


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet()
    yield made
    for vigil in reversed(made.vigils):
        vigil.end()


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_the_first_reason_is_everybodys(fleet: Fleet) -> None:
    head, follower = fleet.watch(0), fleet.watch(1)
    assert follower.tell(FULL) is FULL
    heard = head.tell(CUT_OFF)
    assert (heard.problems, heard.exit_code) == (FULL.problems, FULL.exit_code)
    assert follower.tell(CUT_OFF).problems[0].code == LOST, "it has told of its own end before"
    with pytest.raises(UserError, match="the disk is full"):
        head.check()


def test_a_broken_connection_waits_for_the_reason(fleet: Fleet) -> None:
    head, follower = fleet.watch(0, word_s=LONG_S), fleet.watch(1)
    threading.Timer(0.05, lambda: follower.tell(FULL)).start()
    assert head.tell(CUT_OFF).problems == FULL.problems


def test_without_one_the_other_machine_is_lost(fleet: Fleet) -> None:
    fleet.watch(1)
    lost = fleet.watch(0).tell(CUT_OFF)
    assert (lost.problems[0].code, lost.exit_code) == (LOST, ExitCode.TRAINING_FAILED)
    assert lost.problems[0].message == "another machine of this run is gone without a word (connection closed by peer)"


def test_a_failure_of_its_own_is_no_absence(fleet: Fleet) -> None:
    own = explain(ValueError("timed out"))
    assert fleet.watch(0).tell(own) is own


def test_who_waits_for_what_does_not_come_is_made_to_leave(fleet: Fleet) -> None:
    fleet.watch(1, grace_s=0.01)
    fleet.watch(0).tell(FULL)
    assert fleet.gone.wait(LONG_S)
    assert fleet.left[1].problems == FULL.problems


def test_who_ends_by_itself_is_left_alone(fleet: Fleet) -> None:
    follower = fleet.watch(1, grace_s=0.2)
    fleet.watch(0).tell(FULL)
    until(lambda: fleet.board.read("heard/1") is not None)
    follower.end()
    assert not fleet.gone.wait(0.3)


def test_a_wish_to_stop_reaches_all(fleet: Fleet) -> None:
    fleet.watch(1).tell(UserError((), exit_code=ExitCode.INTERRUPTED))
    heard = fleet.watch(0).tell(CUT_OFF)
    assert (heard.problems, heard.exit_code) == ((), ExitCode.INTERRUPTED)


def test_a_head_that_is_gone_ends_the_others_and_one_that_is_done_does_not(fleet: Fleet) -> None:
    follower = fleet.watch(1, grace_s=0.01)
    head = fleet.watch(0, word_s=LONG_S)
    head.end()
    follower.check()
    fleet.board.gone = True
    assert not fleet.gone.wait(0.1)
    fleet.board.gone = False
    fleet.board.said.clear()
    fleet.watch(1, grace_s=0.01)
    fleet.board.gone = True
    assert fleet.gone.wait(LONG_S)
    assert "the head of this run is gone" in fleet.left[1].problems[0].message


def test_the_head_stays_until_its_reason_is_heard(fleet: Fleet) -> None:
    head = fleet.watch(0, word_s=LONG_S)
    head.tell(FULL)
    ending = threading.Thread(target=head.end)
    ending.start()
    ending.join(0.05)
    assert ending.is_alive()
    follower = fleet.watch(1)
    ending.join(LONG_S)
    assert not ending.is_alive()
    fleet.board.gone = True
    assert follower.tell(CUT_OFF).problems == FULL.problems


def test_a_silent_machine_is_spoken_of_and_then_given_up(fleet: Fleet) -> None:
    now = [0.0]
    fleet.watch(0, clock=lambda: now[0], patience_s=600.0, grace_s=0.01)
    until(lambda: fleet.board.read("alive/0") is not None)
    now[0] = 61.0
    until(lambda: len(fleet.said) == 1)
    assert fleet.said == ["warning: nothing is heard of machine 2 of 2; it is waited for 10 min (ddp_timeout)"]
    fleet.board.post("alive/1", b"1")
    until(lambda: len(fleet.said) == 2)
    assert fleet.said[1] == "machine 2 of 2 is heard of again"
    now[0] = 1000.0
    assert fleet.gone.wait(LONG_S)
    assert (fleet.left[0].problems[0].code, fleet.left[0].problems[0].message) == (
        LOST,
        "machine 2 of 2 is gone without a word (nothing was heard of it for 16 min)",
    )


def test_a_machine_that_has_ended_is_not_waited_for(fleet: Fleet) -> None:
    now = [0.0]
    fleet.watch(1).end()
    fleet.watch(0, clock=lambda: now[0], patience_s=600.0, grace_s=0.01)
    until(lambda: fleet.board.read("alive/0") is not None)
    now[0] = 1000.0
    assert not fleet.gone.wait(0.1)
    assert fleet.said == []
