"""What can still be saved before a kill is decided by arithmetic, and never promises what cannot end in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.training.deadline import MARGIN_S, Ending, Sizes, Speeds, choose_ending, usable_s
from runtime.training.pace import SEAL_PRIOR_BYTES_PER_S, SEND_PRIOR_BYTES_PER_S, Pace

GB = 10**9
SIZES = Sizes(full=12 * GB, weights=4 * GB)
DISK = Speeds(seal=0.5e9)
STORE = Speeds(seal=0.5e9, send=0.2e9)

sizes = st.builds(lambda weights, state: Sizes(full=weights + state, weights=weights), st.integers(0, 200 * GB), st.integers(0, 600 * GB))
speeds = st.builds(Speeds, seal=st.floats(1e5, 1e10), send=st.none() | st.floats(1e5, 1e10), unsent=st.integers(0, 300 * GB))


@pytest.mark.parametrize(
    ("left", "speeds", "stays", "expected"),
    [
        (None, STORE, False, "full"),
        (120, DISK, False, "full"),
        (35, DISK, False, "full"),
        (33, DISK, False, "weights"),
        (15, DISK, False, "weights"),
        (11, DISK, False, "keep"),
        (120, STORE, False, "full"),
        (90, STORE, False, "weights"),
        (40, STORE, True, "full"),
        (20, STORE, True, "weights"),
        (0, DISK, True, "keep"),
        (-5, DISK, True, "keep"),
    ],
)
def test_the_best_that_fits_is_saved(left: float | None, speeds: Speeds, stays: bool, expected: str) -> None:
    assert choose_ending(left, SIZES, speeds, machine_stays=stays).what == expected


def test_what_cannot_reach_the_store_is_sealed_here_and_leaves_the_store_to_what_is_on_its_way() -> None:
    slow = Speeds(seal=0.5e9, send=0.01e9)
    assert choose_ending(60, SIZES, slow, machine_stays=False) == Ending(what="full", seconds=24.0, sends=False)


def test_what_waits_to_be_sent_counts() -> None:
    busy = Speeds(seal=0.5e9, send=0.2e9, unsent=12 * GB)
    assert choose_ending(120, SIZES, busy, machine_stays=False).what == "weights"
    assert choose_ending(160, SIZES, busy, machine_stays=False).what == "full"


def test_weights_that_are_all_there_is_are_a_full_checkpoint_or_nothing() -> None:
    same = Sizes(full=4 * GB, weights=4 * GB)
    assert {choose_ending(left, same, DISK, machine_stays=True).what for left in range(60)} == {"full", "keep"}


@given(left=st.floats(-10, 4000), sizes=sizes, speeds=speeds, stays=st.booleans())
def test_never_chooses_what_cannot_finish(left: float, sizes: Sizes, speeds: Speeds, stays: bool) -> None:
    ending = choose_ending(left, sizes, speeds, machine_stays=stays)
    if ending.what == "keep":
        assert not ending.sends
        return
    size = sizes.full if ending.what == "full" else sizes.weights
    takes = size / speeds.seal
    if ending.sends and speeds.send is not None and not stays:
        takes += (speeds.unsent + size) / speeds.send
    assert takes < left
    assert takes <= left - MARGIN_S or left < 3 * MARGIN_S
    assert ending.seconds == pytest.approx(takes)


@given(left=st.floats(0, 4000), more=st.floats(0, 4000), sizes=sizes, speeds=speeds, stays=st.booleans())
def test_more_time_never_saves_less(left: float, more: float, sizes: Sizes, speeds: Speeds, stays: bool) -> None:
    worth = {("keep", False): 0, ("full", False): 1, ("weights", True): 2, ("full", True): 3}
    early, late = (choose_ending(time, sizes, speeds, machine_stays=stays) for time in (left, left + more))
    assert worth[early.what, early.sends] <= worth[late.what, late.sends]


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_margin_leaves_something_of_every_notice(left: float, more: float) -> None:
    assert 0 <= usable_s(left) <= left
    assert usable_s(left) <= usable_s(left + more) + 1e-6
    assert usable_s(120) == 110


def test_a_pace_is_a_prior_until_it_is_measured_and_then_the_slowest_of_late() -> None:
    pace = Pace()
    assert pace.speeds(stores=True) == Speeds(seal=SEAL_PRIOR_BYTES_PER_S, send=SEND_PRIOR_BYTES_PER_S)
    for seconds in (20.0, 1.0, 2.0, 4.0):
        pace.sealed(1000, seconds)
    assert pace.speeds(stores=False, unsent=7) == Speeds(seal=250.0, send=None, unsent=7)
    pace.hear({"kind": "uploaded", "bytes": 1000, "seconds": 5.0})
    pace.hear({"kind": "uploaded", "bytes": 1000, "sent_bytes": 100, "seconds": 5.0})
    pace.hear({"kind": "checkpoint", "bytes": 1, "seconds": 100.0})
    pace.hear({"kind": "uploaded", "bytes": 1000, "seconds": 0.0})
    assert pace.speeds(stores=True).send == 20.0
    assert pace.last_sent_s == 5.0
